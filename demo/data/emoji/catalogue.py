"""The pictures and names of assets/emoji, and what is held out from training."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from PIL import Image

from demo.data.emoji.sequence import Traits, family_of, traits_of

ASSETS = Path(__file__).parents[2] / "assets" / "emoji"
SIDE = 64
"""Width and height of a picture in pixels."""


class Style(StrEnum):
    NOTO = "noto"
    TWEMOJI = "twemoji"
    FLUENT = "fluent"


STYLES: Mapping[Style, str] = {
    Style.NOTO: "Noto Color Emoji",
    Style.TWEMOJI: "Twemoji",
    Style.FLUENT: "Fluent Emoji, flat",
}
HELD_OUT_STYLE = Style.FLUENT
"""No picture of this style is ever trained on."""

ONE_IN = 10
"""Of so many families, one is held out from training, in every style."""


@dataclass(frozen=True, slots=True)
class Emoji:
    """A sequence with Unicode's short name and keywords, and the styles that draw it."""

    code: str
    name: str
    keywords: tuple[str, ...]
    group: str
    styles: tuple[Style, ...]

    @property
    def traits(self) -> Traits:
        return traits_of(self.code)

    @property
    def family(self) -> str:
        return family_of(self.code)

    @property
    def held_out(self) -> bool:
        """Whether its family is one of the tenth that training never sees."""
        digest = hashlib.sha256(self.family.encode()).digest()
        return int.from_bytes(digest[:8]) % ONE_IN == 0

    @property
    def training_styles(self) -> tuple[Style, ...]:
        """The styles in which training may see it: none where it is held out."""
        if self.held_out:
            return ()
        return tuple(style for style in self.styles if style != HELD_OUT_STYLE)


@lru_cache(maxsize=1)
def load_catalogue() -> tuple[Emoji, ...]:
    """Every emoji of the assets, in Unicode's order."""
    rows = json.loads((ASSETS / "catalogue.json").read_text(encoding="utf-8"))
    return tuple(
        Emoji(
            row["code"],
            row["name"],
            tuple(row["keywords"]),
            row["group"],
            tuple(Style(style) for style in row["styles"]),
        )
        for row in rows
    )


@lru_cache(maxsize=1)
def trained_emoji() -> tuple[Emoji, ...]:
    """What training may see: drawn in two styles or more that are not held out."""
    return tuple(emoji for emoji in load_catalogue() if len(emoji.training_styles) > 1)


def picture(code: str, style: Style) -> bytes:
    """The PNG of a sequence in a style, SIDE pixels a side, transparent around the figure.

    Raises KeyError where that style does not draw it.
    """
    return _archive(style).read(f"{code}.png")


def on_white(code: str, style: Style, side: int = SIDE) -> Image.Image:
    """The picture in RGB on white, as a service that flattens transparency sees it."""
    with Image.open(io.BytesIO(picture(code, style))) as drawn:
        figure = drawn.convert("RGBA")
    flat = Image.new("RGBA", figure.size, "white")
    flat.alpha_composite(figure)
    image = flat.convert("RGB")
    return image if side == SIDE else image.resize((side, side), Image.Resampling.BICUBIC)


@lru_cache(maxsize=len(Style))
def _archive(style: Style) -> zipfile.ZipFile:
    """Read whole: an open file would be shared with every process forked from this one."""
    return zipfile.ZipFile(io.BytesIO((ASSETS / f"{style}.zip").read_bytes()))
