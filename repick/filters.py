"""Filters over the metadata of items: a small typed language as JSON, parsed to a frozen tree.

    {"field": "lang", "eq": "en"}                     {"and": [FILTER, …]}
    {"field": "lang", "in": ["en", "de"]}             {"or": [FILTER, …]}
    {"field": "year", "range": {"gte": 2000}}         {"not": FILTER}
    {"field": "shop.name", "prefix": "Ab"}            {"field": "year", "exists": true}

A field is a path of names through objects. Where the metadata have an array there, one element is
enough. Values of another type than the filter's do not match; a field that is missing or null
matches nothing but `exists: false` and what a `not` makes of it. Strings are ordered by code point.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from repick.errors import InvalidField

MAX_DEPTH = 8
MAX_TERMS = 500
"""Comparisons of a filter; each value of an `in` is one."""
MAX_VALUE_CHARS = 1024
MAX_NUMBER_BITS = 1024

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}(\.[A-Za-z_][A-Za-z0-9_-]{0,63}){0,7}")
_BOUNDS = ("gt", "gte", "lt", "lte")

Scalar = str | int | float | bool
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Equal:
    field: Path
    value: Scalar


@dataclass(frozen=True, slots=True)
class In:
    """`values` are of one type."""

    field: Path
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """`bounds` by their names `gt`, `gte`, `lt`, `lte`; all numbers or all strings."""

    field: Path
    bounds: tuple[tuple[str, Scalar], ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    field: Path
    prefix: str


@dataclass(frozen=True, slots=True)
class Exists:
    field: Path
    exists: bool


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


Filter = Equal | In | Range | Prefix | Exists | And | Or | Not


def parse(value: object, path: str = "filter") -> Filter:
    """A filter's tree; `path` is where the value lies in the request.

    Raises InvalidField, with the path of the offending value, as `invalid_filter` (not of the
    form), `unknown_operator`, `invalid_filter_field`, `type_mismatch`, or `filter_too_large` (over
    MAX_DEPTH deep, MAX_TERMS comparisons, or a value over its limit).
    """
    tree = _parse(value, path, 1)
    if terms(tree) > MAX_TERMS:
        raise _too_large(path, f"a filter has at most {MAX_TERMS} comparisons")
    return tree


def terms(tree: Filter) -> int:
    """How many comparisons a filter makes."""
    if isinstance(tree, And | Or):
        return sum(terms(part) for part in tree.parts)
    if isinstance(tree, Not):
        return terms(tree.part)
    if isinstance(tree, In):
        return len(tree.values)
    return len(tree.bounds) if isinstance(tree, Range) else 1


def kind(value: Scalar) -> str:
    """The JSON type of a value: `string`, `number` or `boolean`."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def _parse(value: object, path: str, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise _too_large(path, f"a filter is at most {MAX_DEPTH} deep")
    node = _object(value, path)
    if "field" in node:
        return _comparison(node, path)
    operator = _only_key(node, path)
    inner = f"{path}.{operator}"
    if operator == "not":
        return Not(_parse(node["not"], inner, depth + 1))
    if operator not in {"and", "or"}:
        raise _unknown(inner, operator)
    listed = _list(node[operator], inner)
    parts = tuple(_parse(one, f"{inner}[{no}]", depth + 1) for no, one in enumerate(listed))
    return And(parts) if operator == "and" else Or(parts)


def _comparison(node: Mapping[str, object], path: str) -> Filter:
    field = node["field"]
    if not isinstance(field, str) or not _FIELD.fullmatch(field):
        detail = "a field is a path of names such as `lang` or `shop.name`"
        raise InvalidField(f"{path}.field", detail, code="invalid_filter_field")
    operator = _only_key({key: one for key, one in node.items() if key != "field"}, path)
    make = _OPERATORS.get(operator)
    if make is None:
        raise _unknown(f"{path}.{operator}", operator)
    return make(tuple(field.split(".")), node[operator], f"{path}.{operator}")


def _equal(field: Path, value: object, path: str) -> Filter:
    return Equal(field, _scalar(value, path))


def _in(field: Path, value: object, path: str) -> Filter:
    listed = _list(value, path)
    if len(listed) > MAX_TERMS:
        raise _too_large(path, f"a filter has at most {MAX_TERMS} comparisons")
    values = tuple(_scalar(one, f"{path}[{no}]") for no, one in enumerate(listed))
    _same_kind(values, path)
    return In(field, values)


def _range(field: Path, value: object, path: str) -> Filter:
    bounds = _object(value, path)
    for name in bounds:
        if name not in _BOUNDS:
            raise _unknown(f"{path}.{name}", name, "a range has gt, gte, lt and lte")
    if not bounds or {"gt", "gte"} <= set(bounds) or {"lt", "lte"} <= set(bounds):
        detail = "a range has one of `gt` and `gte`, one of `lt` and `lte`, or both"
        raise InvalidField(path, detail, code="invalid_filter")
    found = tuple((name, _scalar(bounds[name], f"{path}.{name}")) for name in sorted(bounds))
    for name, bound in found:
        if kind(bound) == "boolean":
            raise _mismatch(f"{path}.{name}", "a bound is a number or a string")
    _same_kind(tuple(bound for _, bound in found), path)
    return Range(field, found)


def _prefix(field: Path, value: object, path: str) -> Filter:
    if not isinstance(value, str):
        raise _mismatch(path, "a prefix is a string")
    _scalar(value, path)
    if not value:
        raise InvalidField(path, "a prefix is not empty", code="invalid_filter")
    return Prefix(field, value)


def _exists(field: Path, value: object, path: str) -> Filter:
    if not isinstance(value, bool):
        raise _mismatch(path, "`exists` is true or false")
    return Exists(field, value)


_OPERATORS: Mapping[str, Callable[[Path, object, str], Filter]] = {
    "eq": _equal,
    "in": _in,
    "range": _range,
    "prefix": _prefix,
    "exists": _exists,
}


def _scalar(value: object, path: str) -> Scalar:
    if isinstance(value, str):
        return _string(value, path)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value.bit_length() <= MAX_NUMBER_BITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int | float):
        raise _too_large(path, "the number is too large")
    raise _mismatch(path, "a value is a string, a number, true or false")


def _string(value: str, path: str) -> str:
    if len(value) > MAX_VALUE_CHARS:
        raise _too_large(path, f"a value has at most {MAX_VALUE_CHARS} characters")
    if "\0" in value or any("\ud800" <= one <= "\udfff" for one in value):
        raise InvalidField(path, "the string holds what cannot be stored", code="invalid_text")
    return value


def _same_kind(values: tuple[Scalar, ...], path: str) -> None:
    if len({kind(one) for one in values}) > 1:
        raise _mismatch(path, "the values are of different types")


def _object(value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InvalidField(path, "an object is wanted here", code="invalid_filter")
    return value


def _list(value: object, path: str) -> list[object]:
    if not isinstance(value, list) or not value:
        raise InvalidField(path, "a list of at least one is wanted here", code="invalid_filter")
    return value


def _only_key(node: Mapping[str, object], path: str) -> str:
    if len(node) != 1:
        detail = "exactly one operator: and, or, not, or a field with eq, in, range, prefix, exists"
        raise InvalidField(path, detail, code="invalid_filter")
    return next(iter(node))


_KNOWN = (
    "a filter is and, or, not, or a field with eq, in, range, prefix or"
    ' exists, as in {"field": "lang", "eq": "en"}'
)


def _unknown(path: str, operator: str, known: str = _KNOWN) -> InvalidField:
    # A path of the caller's own key would echo whatever it holds.
    where = path if _FIELD.fullmatch(operator) else path.rpartition(".")[0] or path
    return InvalidField(where, f"there is no such operator: {known}", code="unknown_operator")


def _mismatch(path: str, detail: str) -> InvalidField:
    return InvalidField(path, detail, code="type_mismatch")


def _too_large(path: str, detail: str) -> InvalidField:
    return InvalidField(path, detail, code="filter_too_large")
