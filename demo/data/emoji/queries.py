"""Queries over emoji pictures, with what answers them.

Whether a query is of training or held out is its emoji's own: see Emoji.held_out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from demo.data.emoji.catalogue import Emoji, Style

TEXTS = ("{}", "a picture of {}", "an emoji of {}", "an icon that shows {}")
_EDITS = {
    "tone": "but with {} skin",
    "gender": "but a {}",
    "hair": "but with {} hair",
    "direction": "but facing {}",
}


@dataclass(frozen=True, slots=True)
class EmojiQuery:
    """`text`, a picture, or both ask for the picture of `target` in `style`.

    `kind` is "text", "style" or the trait that a composed query changes.
    """

    kind: str
    text: str | None
    reference: tuple[str, Style] | None
    target: Emoji
    style: Style


def text_queries(emojis: Sequence[Emoji], style: Style, template: int = 0) -> list[EmojiQuery]:
    """The name of each emoji that the style draws, worded by one of TEXTS."""
    return [
        EmojiQuery("text", TEXTS[template].format(emoji.name), None, emoji, style)
        for emoji in emojis
        if style in emoji.styles
    ]


def across_styles(emojis: Sequence[Emoji], source: Style, style: Style) -> list[EmojiQuery]:
    """The picture of each emoji in one style asks for the same emoji in another."""
    return [
        EmojiQuery("style", None, (emoji.code, source), emoji, style)
        for emoji in emojis
        if source in emoji.styles and style in emoji.styles
    ]


def composed_queries(emojis: Sequence[Emoji], source: Style, style: Style) -> list[EmojiQuery]:
    """A picture and one trait to change: skin tone, gender, hair or direction."""
    families: dict[str, list[Emoji]] = defaultdict(list)
    for emoji in emojis:
        families[emoji.family].append(emoji)
    return [
        EmojiQuery(trait, text, (reference.code, source), target, style)
        for family in families.values()
        for trait, text, reference, target in _changes(family)
        if source in reference.styles and style in target.styles
    ]


def _changes(family: Sequence[Emoji]) -> Iterator[tuple[str, str, Emoji, Emoji]]:
    """Ordered pairs that differ in one trait which the target's sequence says."""
    for reference, target in permutations(family, 2):
        differences = reference.traits.differences(target.traits)
        if len(differences) == 1:
            text = _edit(differences[0], target)
            if text:
                yield differences[0], text, reference, target


def _edit(trait: str, target: Emoji) -> str | None:
    value = getattr(target.traits, trait)
    if trait == "direction":
        return _EDITS[trait].format(value or "left")  # a figure without the arrow faces left
    if value == "bald":
        return "but bald"
    return _EDITS[trait].format(value) if value else None
