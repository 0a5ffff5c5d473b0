"""What there is to load: items in an order that stays the same as long as the source does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repick.client import Item
from repick.errors import InvalidField, Unavailable

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
FIELDS = frozenset({"id", "text", "image", "metadata"})


SHOWN = 5
"""Files that are named of those that were passed over."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Files of a folder that are of no type which can be loaded: how many, and the first few."""

    files: int = 0
    first: tuple[str, ...] = ()


NOTHING = PassedOver()


@dataclass(frozen=True, slots=True)
class Source:
    """`fingerprint` changes whenever what is to be loaded does; `count` is None where unknown."""

    path: Path
    fingerprint: str
    count: int | None
    items: Callable[[], Iterator[Item]]
    passed_over: PassedOver = NOTHING


def open_source(path: Path) -> Source:
    """A folder of images and texts, a `.jsonl` or `.ndjson` file, or a `.parquet` file.

    Raises InvalidField for anything else, Unavailable where Parquet's library is not installed.
    """
    if path.is_dir():
        return _folder(path)
    suffix = path.suffix.lower()
    if suffix in {".jsonl", ".ndjson"}:
        return Source(path, _fingerprint([path]), _lines(path), lambda: read_lines(path))
    if suffix == ".parquet":
        return _parquet(path)
    detail = "a folder, or a file that ends in .jsonl, .ndjson or .parquet"
    raise InvalidField(str(path), detail, code="unknown_source")


def read_lines(file: Path) -> Iterator[Item]:
    """Items of a JSON-lines file; raises InvalidField with the number of a wrong line."""
    with file.open(encoding="utf-8") as lines:
        for no, line in enumerate(lines, start=1):
            if line.strip():
                yield _of_line(line, f"{file.name}:{no}", file.parent)


def _of_line(line: str, where: str, folder: Path) -> Item:
    try:
        return _item(json.loads(line), where, folder)
    except (ValueError, TypeError, KeyError) as exc:
        detail = "a line is a JSON object with `id`, and `text`, `image` or both"
        raise InvalidField(where, detail, code="invalid_line") from exc


def _item(value: Any, where: str, folder: Path) -> Item:
    if not isinstance(value, dict):
        raise TypeError("an item is an object")
    unknown = set(value) - FIELDS
    if unknown:
        raise InvalidField(where, f"unknown field {min(unknown)}", code="unknown_field")
    image = value.get("image")
    if isinstance(image, str):
        image = folder / image
        if not image.is_file():
            raise InvalidField(where, f"there is no file {image}", code="no_such_file")
    elif image is not None and not isinstance(image, bytes):
        raise TypeError("an image is a file's path")
    return Item(value["id"], value.get("text"), image, value.get("metadata") or {})


def _folder(root: Path) -> Source:
    """Every image, with the text of the `.txt` beside it; other `.txt` files are texts."""
    seen = sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    files = [path for path in seen if _loadable(path)]
    captioned = {path.with_suffix("") for path in files if path.suffix.lower() in IMAGES}
    items = [
        path
        for path in files
        if path.suffix.lower() in IMAGES or path.with_suffix("") not in captioned
    ]
    if not items:
        detail = f"no file here ends in {', '.join(sorted(IMAGES))} or .txt"
        raise InvalidField(str(root), detail, code="nothing_to_load")

    def read() -> Iterator[Item]:
        return (_file(path, root) for path in items)

    others = [path.relative_to(root).as_posix() for path in seen if not _loadable(path)]
    passed_over = PassedOver(len(others), tuple(others[:SHOWN]))
    return Source(root, _fingerprint(files), len(items), read, passed_over)


def _loadable(path: Path) -> bool:
    return path.suffix.lower() in IMAGES | {".txt"}


def _file(path: Path, root: Path) -> Item:
    name = path.relative_to(root).as_posix()
    if path.suffix.lower() not in IMAGES:
        return Item(name, _text(path))
    caption = path.with_suffix(".txt")
    return Item(name, _text(caption) if caption.is_file() else None, path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidField(str(path), "the text is not UTF-8", code="invalid_utf8") from exc


def _parquet(path: Path) -> Source:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as exc:
        raise Unavailable("Parquet needs the extra `parquet`", code="no_parquet") from exc
    try:
        rows = parquet.ParquetFile(path)
    except (ArrowException, OSError) as exc:
        raise InvalidField(str(path), "not a Parquet file", code="unknown_source") from exc

    def read() -> Iterator[Item]:
        no = 0
        for batch in rows.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                yield _row(row, f"{path.name} row {no}", path.parent)
                no += 1

    return Source(path, _fingerprint([path]), rows.metadata.num_rows, read)


def _row(row: Mapping[str, Any], where: str, folder: Path) -> Item:
    """A row with `image` as bytes, as a path, or as {bytes, path}; `metadata` as JSON or object."""
    value = dict(row)
    image, metadata = value.get("image"), value.get("metadata")
    try:
        if isinstance(image, dict):
            value["image"] = image.get("bytes") or image.get("path")
        if isinstance(metadata, str):
            value["metadata"] = json.loads(metadata)
        return _item(value, where, folder)
    except (ValueError, TypeError, KeyError) as exc:
        detail = "a row has `id`, and `text`, `image` or both"
        raise InvalidField(where, detail, code="invalid_line") from exc


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def _fingerprint(files: list[Path]) -> str:
    """Of names, sizes and times: reading a corpus twice to hash it would double a load."""
    digest = hashlib.sha256()
    for file in files:
        facts = file.stat()
        digest.update(f"{file}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()
