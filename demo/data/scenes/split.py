"""Training, validation and test share no combination of two figures.

A split belongs to the two colours and the two shapes of a pair, whichever has which and in
whatever relation: so no (colour, shape, relation, colour, shape) occurs in two splits, and a
swapped or turned round description of a scene is in the scene's own split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from itertools import combinations

from demo.data.scenes.world import COLOURS, SHAPES, Kind, Scene


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


KINDS: tuple[Kind, ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
_OF_TEN = {0: Split.VALIDATION, 1: Split.TEST, 2: Split.TEST}


@lru_cache(maxsize=len(KINDS) ** 2)
def split_of_pair(one: Kind, other: Kind) -> Split:
    """The split of two figures, the same for the pair the other way round."""
    colours, shapes = (sorted(part) for part in zip(one, other, strict=True))
    digest = hashlib.sha256(",".join([*colours, *shapes]).encode()).digest()
    return _OF_TEN.get(int.from_bytes(digest[:8]) % 10, Split.TRAIN)


def split_of_kinds(kinds: Iterable[Kind]) -> frozenset[Split]:
    """The splits of all pairs among several figures; empty for one figure, which is in any."""
    return frozenset(split_of_pair(one, other) for one, other in combinations(kinds, 2))


def split_of_scene(scene: Scene) -> frozenset[Split]:
    """The splits of all pairs of a scene's figures: one, for what sample_scene makes of several."""
    return split_of_kinds(figure.kind for figure in scene.figures)


def fits(kinds: Iterable[Kind], split: Split) -> bool:
    """Whether all pairs among the figures are of that split."""
    return split_of_kinds(kinds) <= {split}


@lru_cache(maxsize=100_000)
def partners(split: Split, *kinds: Kind) -> tuple[Kind, ...]:
    """The figures that can stand beside all of `kinds`: of the split, and like none of them."""
    return tuple(kind for kind in KINDS if kind not in kinds and fits((*kinds, kind), split))
