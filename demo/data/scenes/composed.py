"""Composed queries: a picture and "but the star is green" ask for the picture after the change."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import permutations

from demo.data.scenes.sampling import well_placed
from demo.data.scenes.split import Split, fits
from demo.data.scenes.wording import PHRASES
from demo.data.scenes.world import (
    COLOURS,
    INVERSE,
    SHAPES,
    SIZES,
    Attribute,
    Fact,
    Figure,
    Relation,
    Scene,
    holds,
    relation_between,
)


class Edit(StrEnum):
    COLOUR = "colour"
    SHAPE = "shape"
    SIZE = "size"
    PLACE = "place"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Composed:
    """`text` turns `reference` into `target`; each of `wrong` looks like a hit and is none."""

    reference: Scene
    text: str
    edit: Edit
    target: Scene
    wrong: tuple[Scene, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """One edit: its words, the figures after it, and what the words say (or say is not so)."""

    text: str
    figures: tuple[Figure, ...]
    facts: tuple[Fact, ...]
    denied: bool = False

    def borne_out(self, scene: Scene) -> bool:
        return holds(scene, self.facts, loosely=True) is not self.denied


def compose(scene: Scene, edit: Edit, rng: random.Random, split: Split) -> Composed | None:
    """A query from the scene by one edit, or None where the scene allows none of that kind.

    The wrong ones are the scene unchanged and as other edits leave it, under the same background;
    no wrong one bears the text out, and all are of the split.
    """
    options = [option for option in _OPTIONS[edit](scene) if _valid(option.figures, split)]
    if not options:
        return None
    chosen = rng.choice(options)
    others = {frozenset(o.figures): o.figures for make in _OPTIONS.values() for o in make(scene)}
    wrong = [
        replace(scene, figures=figures)
        for figures in others.values()
        if _valid(figures, split) and not chosen.borne_out(replace(scene, figures=figures))
    ]
    return Composed(
        scene,
        f"but {chosen.text}",
        edit,
        replace(scene, figures=chosen.figures),
        (scene, *rng.sample(wrong, min(3, len(wrong)))),
    )


def _valid(figures: tuple[Figure, ...], split: Split) -> bool:
    kinds = [figure.kind for figure in figures]
    return len(set(kinds)) == len(kinds) and fits(kinds, split) and well_placed(figures)


def _name(figure: Figure, scene: Scene) -> str:
    """The shape where it is the only one of its kind, otherwise with its colour."""
    alone = sum(other.shape == figure.shape for other in scene.figures) == 1
    return f"the {figure.shape}" if alone else f"the {figure.colour} {figure.shape}"


def _exchanged(scene: Scene, old: Figure, new: Figure) -> tuple[Figure, ...]:
    return tuple(new if figure == old else figure for figure in scene.figures)


def _is(figure: Figure, slot: int = 0) -> tuple[Fact, ...]:
    return Attribute(slot, "colour", figure.colour), Attribute(slot, "shape", figure.shape)


def _recoloured(scene: Scene) -> Iterator[Option]:
    for figure in scene.figures:
        for colour in COLOURS:
            new = replace(figure, colour=colour)
            if new != figure:
                text = f"{_name(figure, scene)} is {colour}"
                yield Option(text, _exchanged(scene, figure, new), _is(new))


def _reshaped(scene: Scene) -> Iterator[Option]:
    for figure in scene.figures:
        for shape in SHAPES:
            new = replace(figure, shape=shape)
            if new != figure:
                text = f"with a {shape} in place of {_name(figure, scene)}"
                yield Option(text, _exchanged(scene, figure, new), _is(new))


def _resized(scene: Scene) -> Iterator[Option]:
    for figure in scene.figures:
        for size, (low, high) in SIZES.items():
            if size != figure.size:
                new = replace(figure, size=size, radius=(low + high) / 2)
                facts = (*_is(new), Attribute(0, "size", size))
                text = f"{_name(figure, scene)} is {size}"
                yield Option(text, _exchanged(scene, figure, new), facts)


def _moved(scene: Scene) -> Iterator[Option]:
    """Two figures change places, told from the side of either."""
    for one, other in permutations(scene.figures, 2):
        kind = relation_between(one, other)
        if kind:
            kind = INVERSE[kind]
            text = f"{_name(one, scene)} is {PHRASES[kind][0]} {_name(other, scene)}"
            places = {
                one: replace(one, x=other.x, y=other.y),
                other: replace(other, x=one.x, y=one.y),
            }
            figures = tuple(places.get(figure, figure) for figure in scene.figures)
            yield Option(text, figures, (*_is(one), *_is(other, 1), Relation(kind, 0, 1)))


def _removed(scene: Scene) -> Iterator[Option]:
    if len(scene.figures) > 1:
        for figure in scene.figures:
            rest = tuple(other for other in scene.figures if other != figure)
            yield Option(f"without {_name(figure, scene)}", rest, _is(figure), denied=True)


_OPTIONS: Mapping[Edit, Callable[[Scene], Iterator[Option]]] = {
    Edit.COLOUR: _recoloured,
    Edit.SHAPE: _reshaped,
    Edit.SIZE: _resized,
    Edit.PLACE: _moved,
    Edit.REMOVE: _removed,
}
