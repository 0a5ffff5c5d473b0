"""Scenes from a random state: one to three figures, two of which stand clearly in a relation."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations

from demo.data.scenes.split import KINDS, Split, partners
from demo.data.scenes.world import BACKGROUNDS, CORNERS, SIZES, Figure, Kind, Scene

TEXTURES = ("plain", "gradient", "stripes", "dots", "checks")
MARGIN = 0.01
"""Free space around a figure, to the edge and to each other one."""

_TRIES = 40


def sample_scene(rng: random.Random, count: int, split: Split) -> Scene:
    """A scene of `count` figures, 1 to 3; with several, all their pairs are of that split."""
    while True:
        figures = _figures(rng, count, split)
        if figures:
            background, texture = rng.choice(list(BACKGROUNDS)), rng.choice(TEXTURES)
            return Scene(tuple(figures), background, texture, rng.getrandbits(32))


def well_placed(figures: Sequence[Figure]) -> bool:
    """Whether every figure is inside the picture and clear of every other."""
    inside = all(_room(f) <= value <= 1 - _room(f) for f in figures for value in (f.x, f.y))
    return inside and all(
        math.dist((one.x, one.y), (other.x, other.y)) >= one.radius + other.radius + MARGIN
        for one, other in combinations(figures, 2)
    )


def _room(figure: Figure) -> float:
    return figure.radius + MARGIN


def _figures(rng: random.Random, count: int, split: Split) -> list[Figure]:
    """The figures, or none where the first ones leave no third one that fits."""
    kinds: list[Kind] = [rng.choice(KINDS)]
    while len(kinds) < count:
        others = partners(split, *kinds)
        if not others:
            return []
        kinds.append(rng.choice(others))
    figures = [_alone(rng, kinds[0])] if count == 1 else _pair(rng, kinds[0], kinds[1])
    for kind in kinds[2:]:
        third = _beside(rng, kind, figures)
        figures = [*figures, third] if third else []
    rng.shuffle(figures)
    return figures


def _pair(rng: random.Random, one: Kind, other: Kind) -> list[Figure]:
    """Two figures, clearly side by side or one above the other."""
    while True:
        along, across = rng.uniform(0.4, 0.54), rng.uniform(-0.12, 0.12)
        dx, dy = (along, across) if rng.random() < 0.5 else (across, along)
        x, y = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
        figures = [
            _figure(rng, one, x - dx / 2, y - dy / 2),
            _figure(rng, other, x + dx / 2, y + dy / 2),
        ]
        if well_placed(figures):
            return figures


def _alone(rng: random.Random, kind: Kind) -> Figure:
    while True:
        figure = _anywhere(rng, kind)
        if well_placed([figure]):
            return figure


def _beside(rng: random.Random, kind: Kind, figures: Sequence[Figure]) -> Figure | None:
    for _ in range(_TRIES):
        figure = _anywhere(rng, kind)
        if well_placed([*figures, figure]):
            return figure
    return None


def _anywhere(rng: random.Random, kind: Kind) -> Figure:
    """In a corner, or where it happens to be."""
    if rng.random() < 0.5:
        right, bottom = rng.choice(list(CORNERS.values()))
        off_x, off_y = rng.uniform(0.12, 0.2), rng.uniform(0.12, 0.2)
        return _figure(rng, kind, abs(right - off_x), abs(bottom - off_y), "small")
    return _figure(rng, kind, rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9))


def _figure(rng: random.Random, kind: Kind, x: float, y: float, size: str = "") -> Figure:
    size = size or rng.choice(list(SIZES))
    tint = (rng.randint(-10, 10), rng.randint(-10, 10), rng.randint(-10, 10))
    radius, turn = rng.uniform(*SIZES[size]), rng.uniform(-8, 8)
    return Figure(*kind, size, round(x, 4), round(y, 4), round(radius, 4), round(turn, 2), tint)
