"""A description becomes an English caption that knows which of its words tells which fact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from demo.data.scenes.split import Split, fits
from demo.data.scenes.world import INVERSE, Attribute, Fact, Ground, Kind, Relation

PHRASES = {
    "left": ("to the left of", "to its left"),
    "right": ("to the right of", "to its right"),
    "above": ("above", "above it"),
    "below": ("below", "below it"),
}


@dataclass(frozen=True, slots=True)
class Mention:
    """A figure as words tell of it; what is None is left unsaid."""

    colour: str
    shape: str
    size: str | None = None
    corner: str | None = None

    @property
    def kind(self) -> Kind:
        return self.colour, self.shape


@dataclass(frozen=True, slots=True)
class Description:
    """What a caption says: one to three mentions, the first one's relation to the second."""

    mentions: tuple[Mention, ...]
    relation: str | None = None
    background: str | None = None

    def fits(self, split: Split) -> bool:
        """Whether all pairs that it mentions are of that split."""
        return fits((mention.kind for mention in self.mentions), split)


@dataclass(frozen=True, slots=True)
class Mark:
    """The caption's first `end` characters tell `fact`, after those of the marks before."""

    end: int
    fact: Fact


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence, and its facts in the order in which they are told."""

    text: str
    marks: tuple[Mark, ...]

    @property
    def facts(self) -> tuple[Fact, ...]:
        return tuple(mark.fact for mark in self.marks)


Piece = tuple[str, Fact | None]


def write(description: Description, template: int) -> Caption:
    """Word a description by one of the TEMPLATES, which differ in how they tell a relation."""
    text, marks = "", []
    for words, fact in _sentence(description, TEMPLATES[template]):
        text += words if words.startswith(",") or not text else f" {words}"
        if fact:
            marks.append(Mark(len(text), fact))
    return Caption(text, tuple(marks))


def _sentence(
    description: Description, template: Callable[[Description], Iterator[Piece]]
) -> Iterator[Piece]:
    if len(description.mentions) == 1:
        yield from _noun(description, 0)
    elif description.relation is None:
        yield from (*_noun(description, 0), ("and", None), *_noun(description, 1))
    else:
        yield from template(description)
    for slot in range(2, len(description.mentions)):
        yield from ((", and", None), *_noun(description, slot))
    if description.background:
        ground = Ground(description.background)
        yield f", on {_article(description.background)} {description.background}", ground
        yield "background", None


def _noun(description: Description, slot: int) -> Iterator[Piece]:
    """ "a small red star in the top left corner", as far as it is told."""
    mention = description.mentions[slot]
    article = _article(mention.size or mention.colour)
    yield article, None
    if mention.size:
        yield mention.size, Attribute(slot, "size", mention.size)
    yield mention.colour, Attribute(slot, "colour", mention.colour)
    yield mention.shape, Attribute(slot, "shape", mention.shape)
    if mention.corner:
        yield f"in the {mention.corner}", Attribute(slot, "corner", mention.corner)
        yield "corner", None


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _phrase(description: Description, form: int = 0) -> Piece:
    """The relation of the first mention to the second, as a preposition or as an adverb."""
    kind = _relation(description)
    return PHRASES[kind][form], Relation(kind, 0, 1)


def _relation(description: Description) -> str:
    if description.relation is None:
        raise ValueError("the template needs a relation")
    return description.relation


def _plain(description: Description) -> Iterator[Piece]:
    yield from (*_noun(description, 0), _phrase(description), *_noun(description, 1))


def _is(description: Description) -> Iterator[Piece]:
    yield from (*_noun(description, 0), ("is", None), _phrase(description))
    yield from _noun(description, 1)


def _there_is(description: Description) -> Iterator[Piece]:
    yield from (("there is", None), *_plain(description))


def _picture(description: Description) -> Iterator[Piece]:
    yield from (("the picture shows", None), *_plain(description))


def _place_first(description: Description) -> Iterator[Piece]:
    yield from (_phrase(description), *_noun(description, 1), ("is", None))
    yield from _noun(description, 0)


def _with_it(description: Description) -> Iterator[Piece]:
    yield from (*_noun(description, 1), ("with", None), *_noun(description, 0))
    yield _phrase(description, 1)


def _and_there(description: Description) -> Iterator[Piece]:
    """ "a blue star and, to its left, a red ring": told from the second one's side."""
    yield from (*_noun(description, 1), ("and,", None), _phrase(description, 1))
    yield from ((",", None), *_noun(description, 0))


def _turned(description: Description) -> Iterator[Piece]:
    """The same relation from the other side: "a blue star to the right of a red ring"."""
    kind = INVERSE[_relation(description)]
    yield from _noun(description, 1)
    yield PHRASES[kind][0], Relation(kind, 1, 0)
    yield from _noun(description, 0)


TEMPLATES: tuple[Callable[[Description], Iterator[Piece]], ...] = (
    _plain,
    _is,
    _there_is,
    _picture,
    _place_first,
    _with_it,
    _and_there,
    _turned,
)
