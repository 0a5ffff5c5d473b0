"""Emoji: every picture of one style as the corpus, and queries in words and in other styles."""

from __future__ import annotations

import random
from collections.abc import Sequence

from demo.data import emoji
from demo.data.emoji import EmojiQuery, Style, load_catalogue, picture
from demo.documents import DemoItem, DemoQuery

STYLE = Style.NOTO
OTHERS = (Style.TWEMOJI, emoji.HELD_OUT_STYLE)
"""The styles that queries show: one that training saw and the one that it never did."""

SEED, QUERIES = 3, 4


def emoji_items() -> tuple[DemoItem, ...]:
    """The corpus: every emoji in STYLE."""
    return tuple(
        DemoItem(
            _id(one.code),
            None,
            picture(one.code, STYLE),
            {"shows": one.name, "group": one.group, "held_out": str(one.held_out).lower()},
        )
        for one in load_catalogue()
        if STYLE in one.styles
    )


def text_queries() -> tuple[DemoQuery, ...]:
    """Unicode's names of some emoji."""
    return _some(emoji.text_queries(load_catalogue(), STYLE), QUERIES)


def style_queries() -> tuple[DemoQuery, ...]:
    """Pictures in other styles."""
    count = QUERIES // len(OTHERS)
    chosen = (_some(emoji.across_styles(load_catalogue(), one, STYLE), count) for one in OTHERS)
    return tuple(query for queries in chosen for query in queries)


def composed_queries() -> tuple[DemoQuery, ...]:
    """A picture and one trait to change, a query for each trait."""
    found = emoji.composed_queries(load_catalogue(), STYLE, STYLE)
    traits = sorted({query.kind for query in found})
    by_trait = (_some([query for query in found if query.kind == trait], 1) for trait in traits)
    return tuple(query for queries in by_trait for query in queries)


def _some(queries: Sequence[EmojiQuery], count: int) -> tuple[DemoQuery, ...]:
    rng = random.Random(f"demo/{SEED}/{queries[0].kind}")
    return tuple(map(_query, rng.sample(queries, count)))


def _query(query: EmojiQuery) -> DemoQuery:
    target = _id(query.target.code)
    if query.reference is None:
        return DemoQuery(query.text, None, target)
    code, style = query.reference
    return DemoQuery(query.text, picture(code, style), target, f"{_name(code)}, {style}")


def _name(code: str) -> str:
    return next(one.name for one in load_catalogue() if one.code == code)


def _id(code: str) -> str:
    return f"emoji-{code}"
