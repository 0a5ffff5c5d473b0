"""A scene's pixels, the same on every machine."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Iterator, Mapping

from PIL import Image, ImageDraw

from demo.data.scenes.world import BACKGROUNDS, COLOURS, Figure, Scene

SIDE = 96
_SCALE = 3  # drawn this much larger, then reduced: smooth edges
_SHADE = 9
"""How far a texture strays from the background's colour: never towards a figure's."""

Colour = tuple[int, int, int]


def draw(scene: Scene, side: int = SIDE) -> Image.Image:
    """The scene in RGB, `side` pixels wide and high."""
    full = side * _SCALE
    image = Image.new("RGB", (full, full), BACKGROUNDS[scene.background])
    pen, rng = ImageDraw.Draw(image), random.Random(scene.texture_seed)
    _TEXTURES[scene.texture](pen, full, BACKGROUNDS[scene.background], rng)
    for figure in scene.figures:
        _draw_figure(pen, figure, full)
    return image.resize((side, side), Image.Resampling.BOX)


def png(scene: Scene, side: int = SIDE) -> bytes:
    """The drawn scene as a PNG file."""
    buffer = io.BytesIO()
    draw(scene, side).save(buffer, "PNG")
    return buffer.getvalue()


def _draw_figure(pen: ImageDraw.ImageDraw, figure: Figure, full: int) -> None:
    x, y, r = figure.x * full, figure.y * full, figure.radius * full
    colour = _shifted(COLOURS[figure.colour], figure.tint)
    match figure.shape:
        case "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        case "ring":
            pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=round(0.36 * r))
        case shape:
            outline = _OUTLINES[shape]
            pen.polygon([_turned(p, figure.turn, x, y, r) for p in outline], fill=colour)


def _turned(
    point: tuple[float, float], degrees: float, x: float, y: float, r: float
) -> tuple[float, float]:
    angle, (px, py) = math.radians(degrees), point
    cos, sin = math.cos(angle), math.sin(angle)
    return x + r * (px * cos - py * sin), y + r * (px * sin + py * cos)


def _corners(count: int, inner: float = 1.0) -> Iterator[tuple[float, float]]:
    """Corners around the centre, the first on top; every second one at `inner`."""
    for no in range(count):
        angle, reach = 2 * math.pi * no / count - math.pi / 2, inner if no % 2 else 1.0
        yield reach * math.cos(angle), reach * math.sin(angle)


_ARM, _SIDE = 0.34, 0.84
_OUTLINES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "square": ((-_SIDE, -_SIDE), (_SIDE, -_SIDE), (_SIDE, _SIDE), (-_SIDE, _SIDE)),
    "triangle": ((0, -1), (0.95, 0.8), (-0.95, 0.8)),
    "star": tuple(_corners(10, 0.42)),
    "diamond": tuple(_corners(4)),
    "cross": (
        *((-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)),
        *((_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)),
    ),
}


def _shifted(colour: Colour, by: Colour) -> Colour:
    red, green, blue = (max(0, min(255, c + d)) for c, d in zip(colour, by, strict=True))
    return red, green, blue


def _shade(base: Colour, rng: random.Random, share: float = 1.0) -> Colour:
    by = round(share * rng.choice((-_SHADE, _SHADE)))
    return _shifted(base, (by, by, by))


def _plain(pen: ImageDraw.ImageDraw, full: int, base: Colour, rng: random.Random) -> None:
    pen.rectangle((0, 0, full, full), fill=_shade(base, rng, rng.random()))


def _gradient(pen: ImageDraw.ImageDraw, full: int, base: Colour, rng: random.Random) -> None:
    sign = rng.choice((-1, 1))
    for y in range(full):
        by = round(sign * _SHADE * (2 * y / full - 1))
        pen.line((0, y, full, y), fill=_shifted(base, (by, by, by)))


def _stripes(pen: ImageDraw.ImageDraw, full: int, base: Colour, rng: random.Random) -> None:
    step, colour, upright = (
        rng.randint(full // 16, full // 6),
        _shade(base, rng),
        rng.random() < 0.5,
    )
    for at in range(0, full, 2 * step):
        box = (at, 0, at + step, full) if upright else (0, at, full, at + step)
        pen.rectangle(box, fill=colour)


def _dots(pen: ImageDraw.ImageDraw, full: int, base: Colour, rng: random.Random) -> None:
    for _ in range(60):
        x, y, r = rng.random() * full, rng.random() * full, full * rng.uniform(0.005, 0.02)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_shade(base, rng, 1.5))


def _checks(pen: ImageDraw.ImageDraw, full: int, base: Colour, rng: random.Random) -> None:
    step, colour = rng.randint(full // 10, full // 5), _shade(base, rng, 0.7)
    for row, y in enumerate(range(0, full, step)):
        for x in range(step * (row % 2), full, 2 * step):
            pen.rectangle((x, y, x + step, y + step), fill=colour)


_TEXTURES: Mapping[str, Callable[[ImageDraw.ImageDraw, int, Colour, random.Random], None]] = {
    "plain": _plain,
    "gradient": _gradient,
    "stripes": _stripes,
    "dots": _dots,
    "checks": _checks,
}
