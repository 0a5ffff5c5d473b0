"""Random filters and metadata over a few names and values, so that they meet; and what matches."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

NAMES = ("lang", "year", "shop", "shop.name", "a.b.c")
STRINGS = (
    "a",
    "ab",
    "a%",
    "a_",
    "é",
    "\U0001f600",
    "\uffff",
    "'; DROP TABLE item",
    "1",
    "true",
    '"',
)
NUMBERS = (-1, 0, 1, 1.0, 2, 0.1, 1e23, 10**23, 2**53 + 1, float(2**53), -0.0)

_SCALARS = st.sampled_from(STRINGS) | st.sampled_from(NUMBERS) | st.booleans()
_LEAVES = _SCALARS | st.none()
_VALUES = _LEAVES | st.lists(_LEAVES | st.lists(_LEAVES, max_size=2), max_size=3)
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "lang": _VALUES,
        "year": _VALUES,
        "shop": _VALUES | st.fixed_dictionaries({}, optional={"name": _VALUES}),
        "a": st.fixed_dictionaries({"b": _VALUES | st.fixed_dictionaries({"c": _VALUES})})
        | st.lists(st.fixed_dictionaries({"b": _VALUES}), max_size=2),
    },
)


def _bounds(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    low = st.sampled_from(["gt", "gte"]).flatmap(lambda name: st.fixed_dictionaries({name: values}))
    high = st.sampled_from(["lt", "lte"]).flatmap(
        lambda name: st.fixed_dictionaries({name: values})
    )
    return low | high | st.tuples(low, high).map(lambda both: both[0] | both[1])


def _listed(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=1, max_size=4) | st.lists(values, min_size=17, max_size=20)


_OPERATORS = (
    st.fixed_dictionaries({"eq": _SCALARS})
    | st.fixed_dictionaries({"in": _listed(st.sampled_from(STRINGS))})
    | st.fixed_dictionaries({"in": _listed(st.sampled_from(NUMBERS))})
    | st.fixed_dictionaries({"range": _bounds(st.sampled_from(STRINGS))})
    | st.fixed_dictionaries({"range": _bounds(st.sampled_from(NUMBERS))})
    | st.fixed_dictionaries({"prefix": st.sampled_from(STRINGS)})
    | st.fixed_dictionaries({"exists": st.booleans()})
)
_COMPARISONS = st.tuples(st.sampled_from(NAMES), _OPERATORS).map(
    lambda both: {"field": both[0]} | both[1]
)
FILTERS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    _COMPARISONS,
    lambda inner: (
        st.fixed_dictionaries({"not": inner})
        | st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)})
    ),
    max_leaves=5,
).filter(lambda value: _depth(value) <= 8)


def _depth(value: Mapping[str, Any]) -> int:
    inner = value.get("and") or value.get("or") or ([value["not"]] if "not" in value else [])
    return 1 + max((_depth(one) for one in inner), default=0)


def matches(value: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """The filter's meaning, written from its description and from the JSON form alone."""
    if "and" in value:
        return all(matches(one, metadata) for one in value["and"])
    if "or" in value:
        return any(matches(one, metadata) for one in value["or"])
    if "not" in value:
        return not matches(value["not"], metadata)
    found = _at(metadata, value["field"])
    if "exists" in value:
        return (found is not None) == value["exists"]
    return any(_holds(value, one) for one in (found if isinstance(found, list) else [found]))


def _at(metadata: Any, field: str) -> Any:
    for name in field.split("."):
        metadata = metadata.get(name) if isinstance(metadata, dict) else None
    return metadata


def _holds(value: Mapping[str, Any], one: Any) -> bool:
    if "eq" in value:
        return _key(one) == _key(value["eq"])
    if "in" in value:
        return _key(one) in [_key(wanted) for wanted in value["in"]]
    if "prefix" in value:
        return isinstance(one, str) and one.startswith(value["prefix"])
    return all(_bounded(_key(one), name, _key(bound)) for name, bound in value["range"].items())


def _bounded(one: tuple[str, Any], name: str, bound: tuple[str, Any]) -> bool:
    if one[0] != bound[0]:
        return False
    ours, theirs = one[1], bound[1]
    return bool(
        {"gt": ours > theirs, "gte": ours >= theirs, "lt": ours < theirs, "lte": ours <= theirs}[
            name
        ]
    )


def _key(one: Any) -> tuple[str, Any]:
    """A value that equals another's exactly when JSON says so: 1 is 1.0 and is not true."""
    if isinstance(one, bool):
        return ("boolean", one)
    if isinstance(one, int | float):
        return ("number", Decimal(repr(one)))
    return ("string", one) if isinstance(one, str) else ("other", repr(one))
