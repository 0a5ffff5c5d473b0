"""Drawn scenes: two or three coloured shapes in a relation, with a caption that says so."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

SIDE = 160
"""Width and height of a scene in pixels."""

_SCALE = 4  # drawn this much larger, then reduced: smooth edges
COLOURS = {
    "red": "#dc2f2f",
    "green": "#2fa84a",
    "blue": "#3557d6",
    "yellow": "#ecc92b",
    "purple": "#8f43b5",
    "orange": "#f08a24",
    "black": "#1c1c1c",
    "pink": "#f29abf",
}
BACKGROUNDS = {"white": "#fbfbf8", "grey": "#c9ccd1", "pale blue": "#d4e6f4", "beige": "#efe4cf"}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond")
SIZES = {"small": 19, "large": 30}
RELATIONS = {
    "to the left of": ((44, 80), (116, 80)),
    "to the right of": ((116, 80), (44, 80)),
    "above": ((80, 44), (80, 116)),
    "below": ((80, 116), (80, 44)),
}
_CORNERS = {
    "in the top left corner": (24, 24),
    "in the top right corner": (136, 24),
    "in the bottom left corner": (24, 136),
    "in the bottom right corner": (136, 136),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A shape of SHAPES in a colour of COLOURS, its size one of SIZES, around its centre."""

    shape: str
    colour: str
    size: str
    centre: tuple[int, int]

    @property
    def words(self) -> str:
        return f"{self.size} {self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """The first figure stands in the relation to the second; a third is in a corner."""

    figures: tuple[Figure, ...]
    relation: str
    background: str
    corner: str = ""

    @property
    def caption(self) -> str:
        first, second = (_with_article(figure.words) for figure in self.figures[:2])
        third = f", and {_with_article(self.figures[2].words)} {self.corner}" if self.corner else ""
        return f"{first} {self.relation} {second}{third}, on a {self.background} background"

    def recoloured(self, colour: str) -> Scene:
        """The same scene, its first figure in another colour."""
        first, *others = self.figures
        return replace(self, figures=(replace(first, colour=colour), *others))

    def png(self) -> bytes:
        """The drawn scene, SIDE pixels a side."""
        full = Image.new("RGB", (SIDE * _SCALE,) * 2, BACKGROUNDS[self.background])
        draw = ImageDraw.Draw(full)
        for figure in self.figures:
            _draw(draw, figure)
        buffer = io.BytesIO()
        full.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(buffer, "PNG")
        return buffer.getvalue()


def draw_scenes(count: int, seed: int) -> tuple[Scene, ...]:
    """`count` scenes, no two alike; every tenth is the one before it in another colour."""
    rng = random.Random(seed)
    found: dict[Scene, None] = {}
    while len(found) < count:
        last = next(reversed(found), None)
        recolour = last is not None and len(found) % 10 == 9
        found[_recoloured(rng, last) if last and recolour else _scene(rng)] = None
    return tuple(found)


def _scene(rng: random.Random) -> Scene:
    relation = rng.choice(list(RELATIONS))
    corner = rng.choice(list(_CORNERS)) if rng.random() < 0.3 else ""
    centres = [*RELATIONS[relation], *([_CORNERS[corner]] if corner else [])]
    shapes, colours = rng.sample(SHAPES, len(centres)), rng.sample(list(COLOURS), len(centres))
    sizes = [*rng.choices(list(SIZES), k=2), "small"]
    figures = tuple(map(Figure, shapes, colours, sizes, centres))
    return Scene(figures, relation, rng.choice(list(BACKGROUNDS)), corner)


def _recoloured(rng: random.Random, scene: Scene) -> Scene:
    used = {figure.colour for figure in scene.figures}
    return scene.recoloured(rng.choice([colour for colour in COLOURS if colour not in used]))


def _with_article(words: str) -> str:
    return f"a{'n' if words[0] in 'aeiou' else ''} {words}"


def _draw(draw: ImageDraw.ImageDraw, figure: Figure) -> None:
    x, y = (value * _SCALE for value in figure.centre)
    r, colour = SIZES[figure.size] * _SCALE, COLOURS[figure.colour]
    box, arm = (x - r, y - r, x + r, y + r), r // 3
    match figure.shape:
        case "circle":
            draw.ellipse(box, fill=colour)
        case "ring":
            draw.ellipse(box, outline=colour, width=arm)
        case "square":
            draw.rectangle(box, fill=colour)
        case "cross":
            draw.rectangle((x - r, y - arm, x + r, y + arm), fill=colour)
            draw.rectangle((x - arm, y - r, x + arm, y + r), fill=colour)
        case shape:
            draw.polygon(list(_corners(shape, x, y, r)), fill=colour)


def _corners(shape: str, x: int, y: int, r: int) -> Iterator[tuple[float, float]]:
    """Corners of a triangle, diamond or star, the first one on top."""
    count = {"triangle": 3, "diamond": 4, "star": 10}[shape]
    for no in range(count):
        angle = 2 * math.pi * no / count - math.pi / 2
        reach = r * 0.42 if shape == "star" and no % 2 else r
        yield x + reach * math.cos(angle), y + reach * math.sin(angle)
