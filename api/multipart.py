"""A multipart/form-data body becomes its parts, as bytes: no guessed character sets, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from api.payload import readable
from api.problems import HttpError
from api.schemas import MAX_ITEMS

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


@dataclass(frozen=True, slots=True)
class Part:
    data: bytes
    declared_type: str | None


@dataclass(slots=True)
class _Collector:
    """The parser's callbacks."""

    parts: list[tuple[Message, bytearray]] = field(default_factory=list)
    name: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)

    def on_part_begin(self) -> None:
        if len(self.parts) > MAX_ITEMS:  # an image for each, and the items themselves
            raise _invalid(f"over {MAX_ITEMS + 1} parts")
        self.parts.append((Message(), bytearray()))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1][1].extend(memoryview(data)[start:end])

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def on_header_end(self) -> None:
        name, value = self.name.decode("latin-1"), self.value.decode("utf-8", "replace")
        self.parts[-1][0][name] = value.replace("\r", "").replace("\n", "")
        self.name.clear()
        self.value.clear()


def parse(body: bytes, boundary: object) -> Mapping[str, Part]:
    """Parts by name; raises HttpError 400 `invalid_multipart`, also for two parts of one name."""
    collected = _Collector()
    if not isinstance(boundary, str) or not 0 < len(boundary) <= 200 or not boundary.isascii():
        raise _invalid("the Content-Type names no boundary")
    complete = False

    def on_end() -> None:
        nonlocal complete
        complete = True

    callbacks: MultipartCallbacks = {
        "on_part_begin": collected.on_part_begin,
        "on_part_data": collected.on_part_data,
        "on_header_field": collected.on_header_field,
        "on_header_value": collected.on_header_value,
        "on_header_end": collected.on_header_end,
        "on_end": on_end,
    }
    try:
        parser = MultipartParser(boundary.encode(), callbacks)
        parser.write(body)
        parser.finalize()
    except MultipartParseError as exc:
        raise _invalid("the body is not multipart/form-data") from exc
    if not complete:
        raise _invalid("the body ends before its last boundary")
    return _by_name(collected)


def _by_name(collected: _Collector) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for head, data in collected.parts:
        if not readable(head, "content-disposition"):
            raise _invalid("a part's Content-Disposition cannot be read")
        name = head.get_param("name", header="content-disposition")
        if not isinstance(name, str) or not name:
            raise _invalid("a part has no name")
        if name in parts:
            raise _invalid("two parts have the same name")
        declared = head.get_content_type() if "content-type" in head else None
        parts[name] = Part(bytes(data), declared)
    return parts


def _invalid(detail: str) -> HttpError:
    return HttpError(400, "invalid_multipart", detail)
