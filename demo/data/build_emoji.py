"""Make assets/emoji from unpacked npm packages; run by hand when a package has a new version.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 \\
        @iconify-json/fluent-emoji-flat@1.2.6 emojibase-data@17.0.0
    python -m demo.data.build_emoji --noto DIR --twemoji DIR --fluent DIR --names DIR

each DIR holding one unpacked package. Fluent comes as SVG: drawing it needs `pip install resvg-py`.
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from demo.data.emoji.catalogue import ASSETS, SIDE, Style
from demo.data.emoji.sequence import GENDERS, TONES, code_of

COLOURS = 48
"""Colours of a picture's palette: a third of the size of full colour, alike to the eye."""

TOLD_TONES = ("1F3FB", "1F3FD", "1F3FF")
"""Light, medium and dark: those between are hard to tell apart at this size."""

KEYWORDS = 8
_GROUPS_LEFT_OUT = ("Component", "Flags")


@dataclass(frozen=True, slots=True)
class Entry:
    """An emoji to ship: its code, its group, its file in the datasource packages."""

    code: str
    group: str
    file: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name in ("noto", "twemoji", "fluent", "names"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    names = read_names(args.names)
    entries = [entry for entry in read_entries(args.noto) if entry.code in names]
    ASSETS.mkdir(parents=True, exist_ok=True)
    drawn = {
        Style.NOTO: _pictures(entries, args.noto / "img" / "google" / "64"),
        Style.TWEMOJI: _pictures(entries, args.twemoji / "img" / "twitter" / "64"),
        Style.FLUENT: _fluent(entries, args.fluent),
    }
    for style, pictures in drawn.items():
        _write_archive(ASSETS / f"{style}.zip", pictures)
        print(f"{style}: {len(pictures)} pictures")
    _write_catalogue(entries, names, drawn)


def read_entries(package: Path) -> list[Entry]:
    """The emoji to ship, in Unicode's order: all but flags; of plain people, three skin tones."""
    rows = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    return [
        entry
        for row in sorted(rows, key=lambda row: int(row["sort_order"]))
        if row["category"] not in _GROUPS_LEFT_OUT
        for entry in _entries(row)
    ]


def _entries(row: Mapping[str, Any]) -> Iterator[Entry]:
    yield Entry(code_of(row["unified"]), row["category"], row["image"])
    variations = row.get("skin_variations", {})
    gendered = any(point in GENDERS for point in code_of(row["unified"]).split("-"))
    if len(variations) == len(TONES) and not gendered:
        for tone in TOLD_TONES:
            toned = variations[tone]
            yield Entry(code_of(toned["unified"]), row["category"], toned["image"])


def read_names(package: Path) -> dict[str, tuple[str, list[str]]]:
    """Unicode's short name (CLDR) and keywords of each code, skin tones too."""
    rows = json.loads((package / "en" / "data.json").read_text(encoding="utf-8"))
    names = {}
    for row in rows:
        tags = [tag for tag in row.get("tags", []) if tag != row["label"]][:KEYWORDS]
        for each in (row, *row.get("skins", [])):
            names[code_of(each["hexcode"])] = (each["label"], tags)
    return names


def _pictures(entries: list[Entry], folder: Path) -> dict[str, bytes]:
    pictures = {}
    for entry in entries:
        with Image.open(folder / entry.file) as image:
            pictures[entry.code] = _small(image)
    return pictures


def _fluent(entries: list[Entry], package: Path) -> dict[str, bytes]:
    """What Fluent draws of the entries, from SVG."""
    resvg: Any = import_module("resvg_py")
    icons = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    names = json.loads((package / "chars.json").read_text(encoding="utf-8"))
    pictures = {}
    for entry in entries:
        body = _body(icons, names.get(entry.code, ""))
        if body:
            box = f"0 0 {icons['width']} {icons['height']}"
            svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{body}</svg>'
            made = bytes(resvg.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE))
            with Image.open(io.BytesIO(made)) as image:
                pictures[entry.code] = _small(image)
    return pictures


def _body(icons: Mapping[str, Any], name: str) -> str | None:
    """An icon's SVG; an alias is followed to its parent."""
    parent = icons["aliases"].get(name, {}).get("parent", name)
    icon = icons["icons"].get(parent)
    return icon["body"] if icon else None


def _small(image: Image.Image) -> bytes:
    full = image.convert("RGBA")
    if full.size != (SIDE, SIDE):
        full = full.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    few = full.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    few.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _write_archive(path: Path, pictures: Mapping[str, bytes]) -> None:
    """A ZIP whose bytes depend on its pictures alone; PNGs do not shrink any further."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for code, content in pictures.items():
            archive.writestr(zipfile.ZipInfo(f"{code}.png", (1980, 1, 1, 0, 0, 0)), content)


def _write_catalogue(
    entries: list[Entry],
    names: Mapping[str, tuple[str, list[str]]],
    drawn: Mapping[Style, Mapping[str, bytes]],
) -> None:
    rows = []
    for entry in entries:
        name, keywords = names[entry.code]
        styles = [style for style in Style if entry.code in drawn[style]]
        row = {"code": entry.code, "name": name, "keywords": keywords, "group": entry.group}
        rows.append(json.dumps({**row, "styles": styles}, ensure_ascii=False))
    text = "[\n" + ",\n".join(rows) + "\n]\n"
    (ASSETS / "catalogue.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
