"""The filter language: what is accepted, and what each wrong form gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repick import filters
from repick.errors import InvalidField
from repick.filters import And, Equal, Exists, In, Not, Or, Prefix, Range, parse
from repick.store.filtering import condition
from tests.filter_values import FILTERS

LANG = {"field": "lang", "eq": "en"}


def test_each_operator_becomes_its_node() -> None:
    tree = parse(
        {
            "and": [
                LANG,
                {"or": [{"field": "n", "in": [1, 2.5]}, {"field": "a.b-c", "exists": True}]},
                {"not": {"field": "name", "prefix": "x%"}},
                {"field": "year", "range": {"gte": 2000, "lt": 2010}},
            ]
        }
    )
    assert tree == And(
        (
            Equal(("lang",), "en"),
            Or((In(("n",), (1, 2.5)), Exists(("a", "b-c"), True))),
            Not(Prefix(("name",), "x%")),
            Range(("year",), (("gte", 2000), ("lt", 2010))),
        )
    )
    assert filters.terms(tree) == 7


def nested(depth: int) -> Any:
    value: Any = LANG
    for _ in range(depth - 1):
        value = {"not": value}
    return value


BAD: tuple[tuple[str, Any, str, str], ...] = (
    ("a string", "lang = 'en'", "filter", "invalid_filter"),
    ("nothing", {}, "filter", "invalid_filter"),
    (
        "SQL as a field",
        {"field": "'; DROP TABLE item", "eq": 1},
        "filter.field",
        "invalid_filter_field",
    ),
    (
        "a field that ends its name",
        {"field": "lang\n", "eq": 1},
        "filter.field",
        "invalid_filter_field",
    ),
    (
        "an array's place as a field",
        {"field": "tags.0", "eq": 1},
        "filter.field",
        "invalid_filter_field",
    ),
    ("a number as a field", {"field": 5, "eq": 1}, "filter.field", "invalid_filter_field"),
    ("unknown operator", {"field": "lang", "like": "e"}, "filter.like", "unknown_operator"),
    ("SQL as an operator", {"'; DROP TABLE": 1}, "filter", "unknown_operator"),
    ("unknown group", {"and": [LANG, {"xor": [LANG]}]}, "filter.and[1].xor", "unknown_operator"),
    ("no operator", {"field": "lang"}, "filter", "invalid_filter"),
    ("two operators", {"field": "lang", "eq": "a", "prefix": "a"}, "filter", "invalid_filter"),
    ("two groups", {"and": [LANG], "or": [LANG]}, "filter", "invalid_filter"),
    ("an empty group", {"or": []}, "filter.or", "invalid_filter"),
    ("a group that is no list", {"and": LANG}, "filter.and", "invalid_filter"),
    ("a list for not", {"not": [LANG]}, "filter.not", "invalid_filter"),
    ("null", {"field": "lang", "eq": None}, "filter.eq", "type_mismatch"),
    ("an object", {"field": "lang", "eq": {"a": 1}}, "filter.eq", "type_mismatch"),
    ("an array", {"field": "lang", "eq": ["a"]}, "filter.eq", "type_mismatch"),
    ("mixed values", {"field": "lang", "in": ["a", 1]}, "filter.in", "type_mismatch"),
    ("a truth among numbers", {"field": "n", "in": [1, True]}, "filter.in", "type_mismatch"),
    ("no values", {"field": "lang", "in": []}, "filter.in", "invalid_filter"),
    ("no bounds", {"field": "n", "range": {}}, "filter.range", "invalid_filter"),
    (
        "two lower bounds",
        {"field": "n", "range": {"gt": 1, "gte": 1}},
        "filter.range",
        "invalid_filter",
    ),
    ("unknown bound", {"field": "n", "range": {"ge": 1}}, "filter.range.ge", "unknown_operator"),
    (
        "mixed bounds",
        {"field": "n", "range": {"gt": 1, "lt": "b"}},
        "filter.range",
        "type_mismatch",
    ),
    (
        "a truth as a bound",
        {"field": "n", "range": {"gt": True}},
        "filter.range.gt",
        "type_mismatch",
    ),
    ("a number as a prefix", {"field": "n", "prefix": 1}, "filter.prefix", "type_mismatch"),
    ("an empty prefix", {"field": "n", "prefix": ""}, "filter.prefix", "invalid_filter"),
    ("a number for exists", {"field": "n", "exists": 1}, "filter.exists", "type_mismatch"),
    ("1,000 terms", {"or": [LANG] * 1000}, "filter", "filter_too_large"),
    ("1,000 values", {"field": "n", "in": [*range(1000)]}, "filter.in", "filter_too_large"),
    ("depth 9", nested(9), "filter" + ".not" * 8, "filter_too_large"),
    ("depth 10,000", nested(10_000), "filter" + ".not" * 8, "filter_too_large"),
    ("a long value", {"field": "n", "eq": "a" * 1025}, "filter.eq", "filter_too_large"),
    ("a huge number", {"field": "n", "eq": 1 << 2000}, "filter.eq", "filter_too_large"),
    ("infinity", {"field": "n", "eq": float("inf")}, "filter.eq", "filter_too_large"),
    ("NUL", {"field": "n", "eq": "a\0"}, "filter.eq", "invalid_text"),
    ("a lone surrogate", {"field": "n", "eq": "\ud800"}, "filter.eq", "invalid_text"),
)


@pytest.mark.parametrize(("name", "value", "field", "code"), BAD, ids=[one[0] for one in BAD])
def test_a_wrong_filter_says_where_and_why(name: str, value: Any, field: str, code: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse(value)
    assert (caught.value.field, caught.value.code) == (field, code)


def test_the_limits_themselves_are_accepted() -> None:
    assert filters.terms(parse({"or": [LANG] * filters.MAX_TERMS})) == filters.MAX_TERMS
    parse(nested(filters.MAX_DEPTH))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["field", "eq", "in", "range", "and", "or", "not", "gt", "lt", "x"]),
            inner | st.just("lang"),
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(ANYTHING)
@settings(max_examples=300, deadline=None)
def test_any_value_is_a_filter_or_a_typed_error(value: object) -> None:
    tree = error = None
    try:
        tree = parse(value)
    except InvalidField as exc:
        error = exc
    assert tree or (error and error.field.startswith("filter"))
    assert tree is None or 1 <= filters.terms(tree) <= filters.MAX_TERMS


@given(FILTERS)
@settings(max_examples=200, deadline=None)
def test_no_value_of_a_filter_is_in_its_statement(value: dict[str, Any]) -> None:
    marked = {"and": [value, {"field": "secret", "eq": "tell-nobody"}]}
    written = condition(parse(marked))
    assert "tell-nobody" not in written.sql
    assert "secret" not in written.sql
    assert all(f":{name}" in written.sql for name in written.binds)


def test_an_unknown_operator_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(
        InvalidField, match=r"in, range, prefix or exists.*\"eq\": \"en\""
    ) as caught:
        parse({"shelf": "b"})
    assert caught.value.code == "unknown_operator"
