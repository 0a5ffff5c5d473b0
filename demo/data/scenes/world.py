"""Figures, scenes and facts; whether a scene bears facts out, strictly or in any loose sense.

Lengths are shares of the picture's side, x to the right and y downwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (220, 47, 47),
    "green": (47, 168, 74),
    "blue": (53, 87, 214),
    "yellow": (236, 201, 43),
    "purple": (143, 67, 181),
    "orange": (240, 138, 36),
    "black": (28, 28, 28),
    "pink": (242, 154, 191),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond")
SIZES: Mapping[str, tuple[float, float]] = {"small": (0.095, 0.12), "large": (0.165, 0.19)}
"""Radii of each size, lowest and highest."""

BACKGROUNDS: Mapping[str, tuple[int, int, int]] = {
    "white": (249, 249, 246),
    "grey": (201, 204, 209),
    "pale blue": (212, 230, 244),
    "beige": (239, 228, 207),
}
RELATIONS = ("left", "right", "above", "below")
INVERSE: Mapping[str, str] = {"left": "right", "right": "left", "above": "below", "below": "above"}
CORNERS: Mapping[str, tuple[int, int]] = {
    "top left": (0, 0),
    "top right": (1, 0),
    "bottom left": (0, 1),
    "bottom right": (1, 1),
}
NEAR_CORNER = 0.25
CONE = 0.5
"""A relation holds strictly where the offset across is at most this part of the one along, and
not even loosely where the offset along is less than this part of the one across."""

Kind = tuple[str, str]
"""(colour, shape) of a figure."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A shape around its centre; `turn` in degrees, `tint` is added to each channel."""

    colour: str
    shape: str
    size: str
    x: float
    y: float
    radius: float
    turn: float = 0.0
    tint: tuple[int, int, int] = (0, 0, 0)

    @property
    def kind(self) -> Kind:
        return self.colour, self.shape


@dataclass(frozen=True, slots=True)
class Scene:
    """Figures in front of a background; no two are alike in colour and shape."""

    figures: tuple[Figure, ...]
    background: str
    texture: str
    texture_seed: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """The thing in `slot` has a colour, shape, size or corner of that value."""

    slot: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Relation:
    """The thing in slot `first` is left of, right of, above or below the one in `second`."""

    kind: str
    first: int
    second: int


@dataclass(frozen=True, slots=True)
class Ground:
    """The background's name."""

    value: str


Fact = Attribute | Relation | Ground


def holds(scene: Scene, facts: Sequence[Fact], *, loosely: bool = False) -> bool:
    """Whether different figures of the scene can fill the slots so that every fact is true.

    `loosely` also counts what somebody might let pass, such as "left of" for what is more above:
    a caption must hold strictly, a negative not even loosely.
    """
    return next(fillings(scene, facts, loosely=loosely), None) is not None


def fillings(
    scene: Scene, facts: Sequence[Fact], *, loosely: bool = False
) -> Iterator[tuple[Figure, ...]]:
    """Every choice of figures for the slots 0, 1, … that makes all facts true."""
    slots = 1 + max((slot for fact in facts for slot in _slots(fact)), default=-1)
    for chosen in permutations(scene.figures, slots):
        if all(_true(fact, chosen, scene, loosely) for fact in facts):
            yield chosen


def relation_between(one: Figure, other: Figure) -> str | None:
    """The relation in which the first figure strictly stands to the second, if any."""
    return next((kind for kind in RELATIONS if related(kind, one, other)), None)


def related(kind: str, one: Figure, other: Figure, *, loosely: bool = False) -> bool:
    dx, dy = one.x - other.x, one.y - other.y
    along, across = (dx, abs(dy)) if kind in ("left", "right") else (dy, abs(dx))
    ahead = -along if kind in ("left", "above") else along
    if loosely:
        return ahead > 0 and ahead >= CONE * across
    return ahead > 0 and across <= CONE * ahead


def corner_of(figure: Figure) -> str | None:
    """The corner in which a figure strictly is, if any."""
    return next((name for name in CORNERS if _in_corner(name, figure, loosely=False)), None)


def _in_corner(name: str, figure: Figure, *, loosely: bool) -> bool:
    reach = 0.5 if loosely else NEAR_CORNER
    right, bottom = CORNERS[name]
    return abs(figure.x - right) <= reach and abs(figure.y - bottom) <= reach


def _slots(fact: Fact) -> tuple[int, ...]:
    if isinstance(fact, Attribute):
        return (fact.slot,)
    return (fact.first, fact.second) if isinstance(fact, Relation) else ()


def _true(fact: Fact, chosen: Sequence[Figure], scene: Scene, loosely: bool) -> bool:
    if isinstance(fact, Ground):
        return scene.background == fact.value
    if isinstance(fact, Relation):
        return related(fact.kind, chosen[fact.first], chosen[fact.second], loosely=loosely)
    figure = chosen[fact.slot]
    if fact.name == "corner":
        return _in_corner(fact.value, figure, loosely=loosely)
    values = {"colour": figure.colour, "shape": figure.shape, "size": figure.size}
    return values[fact.name] == fact.value
