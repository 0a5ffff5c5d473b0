"""Hard negatives by SugarCrepe's classes (arXiv 2306.14610): one thing said wrongly.

A negative never holds of its scene, not even loosely, and mentions only combinations of the
scene's own split.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from itertools import combinations

from demo.data.scenes.split import KINDS, Split
from demo.data.scenes.wording import Description, Mention, write
from demo.data.scenes.world import COLOURS, INVERSE, RELATIONS, SHAPES, SIZES, Scene, holds


class NegativeClass(StrEnum):
    """SugarCrepe's classes; its replace, swap and add are their first words."""

    REPLACE_OBJECT = "replace_object"
    REPLACE_ATTRIBUTE = "replace_attribute"
    REPLACE_RELATION = "replace_relation"
    SWAP_OBJECT = "swap_object"
    SWAP_ATTRIBUTE = "swap_attribute"
    ADD_OBJECT = "add_object"
    ADD_ATTRIBUTE = "add_attribute"


class Error(StrEnum):
    """What exactly is wrong: a mean over these hides a model that never sees one of them."""

    SHAPE = "shape"
    COLOUR = "colour"
    SIZE = "size"
    AXIS = "axis"
    DIRECTION = "direction"
    SWAP_OBJECT = "swap_object"
    SWAP_COLOUR = "swap_colour"
    SWAP_SIZE = "swap_size"
    ADD_OBJECT = "add_object"
    ADD_SIZE = "add_size"


CLASS_OF: Mapping[Error, NegativeClass] = {
    Error.SHAPE: NegativeClass.REPLACE_OBJECT,
    Error.COLOUR: NegativeClass.REPLACE_ATTRIBUTE,
    Error.SIZE: NegativeClass.REPLACE_ATTRIBUTE,
    Error.AXIS: NegativeClass.REPLACE_RELATION,
    Error.DIRECTION: NegativeClass.REPLACE_RELATION,
    Error.SWAP_OBJECT: NegativeClass.SWAP_OBJECT,
    Error.SWAP_COLOUR: NegativeClass.SWAP_ATTRIBUTE,
    Error.SWAP_SIZE: NegativeClass.SWAP_ATTRIBUTE,
    Error.ADD_OBJECT: NegativeClass.ADD_OBJECT,
    Error.ADD_SIZE: NegativeClass.ADD_ATTRIBUTE,
}


def hard_negative(
    scene: Scene, description: Description, error: Error, rng: random.Random, split: Split
) -> Description | None:
    """The description with one such error, or None where the description allows none.

    `split` is the scene's. The result is false of the scene even in a loose sense.
    """
    candidates = list(_MAKERS[error](description))
    rng.shuffle(candidates)
    for candidate in candidates:
        kinds = [mention.kind for mention in candidate.mentions]
        if len(set(kinds)) == len(kinds) and candidate.fits(split) and _false(scene, candidate):
            return candidate
    return None


def _false(scene: Scene, description: Description) -> bool:
    return not holds(scene, write(description, 0).facts, loosely=True)


def _with(description: Description, slot: int, mention: Mention) -> Description:
    mentions = list(description.mentions)
    mentions[slot] = mention
    return replace(description, mentions=tuple(mentions))


def _shapes(description: Description) -> Iterator[Description]:
    for slot, mention in enumerate(description.mentions):
        for shape in SHAPES:
            yield _with(description, slot, replace(mention, shape=shape))


def _colours(description: Description) -> Iterator[Description]:
    for slot, mention in enumerate(description.mentions):
        for colour in COLOURS:
            yield _with(description, slot, replace(mention, colour=colour))


def _sizes(description: Description) -> Iterator[Description]:
    for slot, mention in enumerate(description.mentions):
        if mention.size:
            yield from _sized(description, slot)


def _added_sizes(description: Description) -> Iterator[Description]:
    for slot, mention in enumerate(description.mentions):
        if not mention.size:
            yield from _sized(description, slot)


def _sized(description: Description, slot: int) -> Iterator[Description]:
    for size in SIZES:
        yield _with(description, slot, replace(description.mentions[slot], size=size))


def _axes(description: Description) -> Iterator[Description]:
    if description.relation:
        for kind in RELATIONS:
            if kind not in (description.relation, INVERSE[description.relation]):
                yield replace(description, relation=kind)


def _directions(description: Description) -> Iterator[Description]:
    if description.relation:
        yield replace(description, relation=INVERSE[description.relation])


def _swapped_objects(description: Description) -> Iterator[Description]:
    if description.relation:
        first, second, *rest = description.mentions
        yield replace(description, mentions=(second, first, *rest))


def _swapped_colours(description: Description) -> Iterator[Description]:
    for i, j in combinations(range(len(description.mentions)), 2):
        one, other = description.mentions[i], description.mentions[j]
        if one.colour != other.colour:
            changed = _with(description, i, replace(one, colour=other.colour))
            yield _with(changed, j, replace(other, colour=one.colour))


def _swapped_sizes(description: Description) -> Iterator[Description]:
    for i, j in combinations(range(len(description.mentions)), 2):
        one, other = description.mentions[i], description.mentions[j]
        if one.size != other.size:
            changed = _with(description, i, replace(one, size=other.size))
            yield _with(changed, j, replace(other, size=one.size))


def _added_objects(description: Description) -> Iterator[Description]:
    if len(description.mentions) < 3:
        for kind in KINDS:
            yield replace(description, mentions=(*description.mentions, Mention(*kind)))


_MAKERS: Mapping[Error, Callable[[Description], Iterator[Description]]] = {
    Error.SHAPE: _shapes,
    Error.COLOUR: _colours,
    Error.SIZE: _sizes,
    Error.AXIS: _axes,
    Error.DIRECTION: _directions,
    Error.SWAP_OBJECT: _swapped_objects,
    Error.SWAP_COLOUR: _swapped_colours,
    Error.SWAP_SIZE: _swapped_sizes,
    Error.ADD_OBJECT: _added_objects,
    Error.ADD_SIZE: _added_sizes,
}
