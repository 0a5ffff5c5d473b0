"""Match questions with pictures on both sides, and emoji against their names."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache

from demo.data.emoji import Emoji, EmojiQuery, Style, composed_queries, trained_emoji
from demo.data.emoji.catalogue import HELD_OUT_STYLE, on_white
from demo.data.scenes import Edit, Split, compose, draw, sample_scene
from demo.training.matches import FULLY, NOT_AT_ALL, PARTLY, Side, ask, pair_row
from demo.training.recipe import SIDE
from demo.training.rows import Picture, Row
from demo.training.speech import Speech
from repick.specs import Readout

Item = tuple[list[Picture], list[Row]]


def composed_item(
    speech: Speech, readouts: Sequence[Readout], rng: random.Random, first: int, split: Split
) -> Item:
    """A scene with an edit, against the scene after it and against one that is not that."""
    made = None
    while made is None:
        scene = sample_scene(rng, rng.choice((1, 2, 3)), split)
        made = compose(scene, rng.choice(list(Edit)), rng, split)
    scenes = (made.reference, made.target, rng.choice(made.wrong))
    pictures = [Picture(draw(each, SIDE), each) for each in scenes]
    graded = f"composed_{made.edit}"
    return pictures, _against(speech, readouts, rng, pictures, first, made.text, graded)


def emoji_item(speech: Speech, readouts: Sequence[Readout], rng: random.Random, first: int) -> Item:
    """A trained emoji against names, against another style, or with an edit against the result."""
    kind = rng.choice(("name", "name", "style", "edit"))
    if kind == "name":
        return _named(speech, readouts, rng, first)
    if kind == "edit":
        query = rng.choice(_edits())
        family = _training()[query.target.family]
        wrong = rng.choice([one for one in family if one != query.target])
        code = query.reference[0] if query.reference else ""
        shown = ((code, query.style), (query.target.code, query.style), (wrong.code, query.style))
        text: str | None = query.text
    else:
        emoji, other = _two(rng)
        source, target = rng.sample(emoji.training_styles, 2)
        shown = ((emoji.code, source), (emoji.code, target), (other.code, target))
        text = None
    pictures = [Picture(on_white(code, style, SIDE)) for code, style in shown]
    return pictures, _against(speech, readouts, rng, pictures, first, text, f"emoji_{kind}")


def _named(speech: Speech, readouts: Sequence[Readout], rng: random.Random, first: int) -> Item:
    emoji, other = _two(rng)
    picture = Picture(on_white(emoji.code, rng.choice(emoji.training_styles), SIDE))
    asked = ask(rng, readouts, 1)
    rows = []
    for one, rating in ((emoji, FULLY), (other, NOT_AT_ALL)):
        text: Side = (one.name, None)
        image: Side = (None, (first, picture))
        query, document = (image, text) if asked.query_is_picture else (text, image)
        rows.append(pair_row(speech, asked, query, document, rating, "emoji_name"))
    return [picture], rows


def _against(
    speech: Speech,
    readouts: Sequence[Readout],
    rng: random.Random,
    pictures: Sequence[Picture],
    first: int,
    text: str | None,
    graded: str,
) -> list[Row]:
    """The first picture, with a text, against the second, which matches, and the third."""
    asked = ask(rng, readouts, 1)
    query: Side = (text, (first, pictures[0]))
    return [
        pair_row(speech, asked, query, (None, (first + no, pictures[no])), rating, graded)
        for no, rating in ((1, FULLY), (2, PARTLY))
    ]


def _two(rng: random.Random) -> tuple[Emoji, Emoji]:
    """An emoji of training and another one: of its family or group half of the time."""
    families = _training()
    family = rng.choice(list(families.values()))
    emoji = rng.choice(family)
    near = family if len(family) > 1 and rng.random() < 0.5 else _groups()[emoji.group]
    other = emoji
    while other == emoji:
        other = rng.choice(near)
    return emoji, other


@lru_cache(maxsize=1)
def _training() -> Mapping[str, tuple[Emoji, ...]]:
    """The emoji that training may see, by family."""
    families: dict[str, tuple[Emoji, ...]] = {}
    for emoji in trained_emoji():
        families[emoji.family] = (*families.get(emoji.family, ()), emoji)
    return families


@lru_cache(maxsize=1)
def _groups() -> Mapping[str, tuple[Emoji, ...]]:
    groups: dict[str, tuple[Emoji, ...]] = {}
    for emoji in trained_emoji():
        groups[emoji.group] = (*groups.get(emoji.group, ()), emoji)
    return groups


@lru_cache(maxsize=1)
def _edits() -> tuple[EmojiQuery, ...]:
    """Composed queries within each style of training."""
    styles = [style for style in Style if style != HELD_OUT_STYLE]
    return tuple(q for style in styles for q in composed_queries(trained_emoji(), style, style))
