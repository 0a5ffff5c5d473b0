"""Bytes become JSON values, strictly: what JSON, UTF-8 or Postgres cannot hold is refused."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from api.problems import HttpError, field_path
from repick.errors import InvalidField

MAX_DEPTH = 64
MAX_VALUES = 500_000
"""Values of a body; each costs memory that its bytes do not show."""

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""Also one that nothing ends: else the search would begin again at each quote within it."""


@dataclass(slots=True)
class Room:
    """How many values a body that comes in lines may still have."""

    left: int = MAX_VALUES


def parse(body: bytes, room: Room | None = None, *, one_line: bool = False) -> Any:
    """The JSON value of a body, or of a line of one with the room that the lines before left.

    Of one line, an error gives the column alone.

    Raises HttpError 413 `too_many_values`, 400 `invalid_utf8`, `invalid_json`, `duplicate_key` or
    `too_deep`, and InvalidField with `invalid_number` (NaN, infinite, or too long to read) or
    `invalid_text` (NUL or a lone surrogate, with the path of the string).
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise HttpError(400, "invalid_utf8", "the body is not UTF-8") from exc
    _count(text, room or Room())
    value = _load(text, one_line)
    _check(value)
    return value


def parse_line(line: bytes, no: int, room: Room) -> Any:
    """As `parse`, a line of many: the sentence of an HttpError begins with its number."""
    try:
        return parse(line.rstrip(b"\r\n"), room, one_line=True)
    except HttpError as exc:
        raise HttpError(exc.status, exc.code, f"line {no}: {exc.detail}") from exc


def _count(text: str, room: Room) -> None:
    """Refuse a body of too many values before any is made."""
    found, end = 0, 0
    for string in _STRING.finditer(text):
        found += _values(text, end, string.start())
        end = string.end()
        if found > room.left:
            break
    room.left -= found + _values(text, end, len(text))
    if room.left < 0:
        raise HttpError(413, "too_many_values", f"the body has over {MAX_VALUES} values")


def _values(text: str, start: int, end: int) -> int:
    return sum(text.count(sign, start, end) for sign in "[{,")


def _load(text: str, one_line: bool) -> Any:
    try:
        return json.loads(
            text,
            parse_constant=_refuse_number,
            parse_float=_finite,
            object_pairs_hook=_distinct,
        )
    except RecursionError as exc:
        raise HttpError(400, "too_deep", f"JSON is nested over {MAX_DEPTH} deep") from exc
    except json.JSONDecodeError as exc:
        line = "" if one_line else f"line {exc.lineno}, "
        detail = f"not JSON: {exc.msg} at {line}column {exc.colno}"
        raise HttpError(400, "invalid_json", detail) from exc
    except ValueError as exc:  # an integer of thousands of digits
        raise InvalidField("body", "a number is too long", code="invalid_number") from exc


def _refuse_number(name: str) -> Any:
    raise InvalidField("body", f"{name} is not a number of JSON", code="invalid_number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidField("body", "a number is too large", code="invalid_number")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise HttpError(400, "duplicate_key", "an object has the same key twice")
    return value


def _check(root: Any) -> None:
    """Refuse depth and unstorable strings, without recursion of its own."""
    left: list[tuple[Any, tuple[str | int, ...]]] = [(root, ())]
    while left:
        value, path = left.pop()
        if len(path) > MAX_DEPTH:
            raise HttpError(400, "too_deep", f"JSON is nested over {MAX_DEPTH} deep")
        if isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, list):
            left.extend((one, (*path, no)) for no, one in enumerate(value))
        elif isinstance(value, dict):
            for key, one in value.items():
                _check_text(key, path)
                left.append((one, (*path, key)))


def _check_text(text: str, path: tuple[str | int, ...]) -> None:
    if "\0" in text:
        raise _unstorable(path, "a NUL character")
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _unstorable(path, "a lone surrogate") from None


def _unstorable(path: tuple[str | int, ...], what: str) -> InvalidField:
    return InvalidField(field_path(path) or "body", f"a string holds {what}", code="invalid_text")
