"""A filter as SQL over `item.metadata`: the statement is ours, every value of the caller is bound.

Equality is containment, which the index of `item.metadata` serves; the rest is looked up by path
and compared by a jsonpath that never leaves the lax mode's one level of unwrapping. Each condition
is true or false, never null, so that `NOT` means what it says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repick.filters import (
    And,
    Equal,
    Exists,
    Filter,
    In,
    Not,
    Or,
    Path,
    Prefix,
    Range,
    Scalar,
    kind,
)

INDEXED_VALUES = 16
"""An `in` of at most so many values is as many equalities, each of which the index can serve."""

_SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True, slots=True)
class Condition:
    """A boolean expression over the item aliased `i`, and its bound values."""

    sql: str
    binds: Mapping[str, Any]


def condition(tree: Filter | None) -> Condition:
    """The filter's condition; without a filter, one that holds for every item."""
    if tree is None:
        return Condition("true", {})
    writer = _Writer()
    return Condition(writer.write(tree), writer.binds)


@dataclass(slots=True)
class _Writer:
    binds: dict[str, Any] = field(default_factory=dict)

    def write(self, tree: Filter) -> str:
        match tree:
            case And(parts):
                return "(" + " AND ".join(self.write(part) for part in parts) + ")"
            case Or(parts):
                return "(" + " OR ".join(self.write(part) for part in parts) + ")"
            case Not(part):
                return f"(NOT {self.write(part)})"
            case Equal(name, value):
                return self._equal(name, value)
            case In(name, values):
                return self._in(name, values)
            case Range(name, bounds):
                tests = " && ".join(f"@ {_SIGNS[sign]} ${sign}" for sign, _ in bounds)
                return self._compare(name, kind(bounds[0][1]), tests, dict(bounds))
            case Prefix(name, prefix):
                return self._compare(name, "string", "@ starts with $prefix", {"prefix": prefix})
            case Exists(name, exists):
                found = f"coalesce(jsonb_typeof({self._at(name)}) <> 'null', false)"
                return found if exists else f"(NOT {found})"

    def _equal(self, name: Path, value: Scalar) -> str:
        alone = self._bind(json.dumps(_nested(name, value)))
        listed = self._bind(json.dumps(_nested(name, [value])))
        return f"(i.metadata @> CAST({alone} AS jsonb) OR i.metadata @> CAST({listed} AS jsonb))"

    def _in(self, name: Path, values: tuple[Scalar, ...]) -> str:
        if len(values) <= INDEXED_VALUES:
            return "(" + " OR ".join(self._equal(name, value) for value in values) + ")"
        return self._compare(name, kind(values[0]), "@ == $values[*]", {"values": list(values)})

    def _compare(self, name: Path, of_type: str, tests: str, variables: dict[str, Any]) -> str:
        """The type is asked last, of what compares; it is an array's where two are nested.

        Most names are of one part, which a jsonpath reaches in half the time; along more it would
        unwrap arrays on the way as well.
        """
        at, path = "i.metadata", f"$.{json.dumps(name[0])}"
        if len(name) > 1:
            at, path = self._at(name), "$"
        where = self._bind(f'{path} ? ({tests} && @.type() == "{of_type}")')
        given = self._bind(json.dumps(variables))
        found = f"jsonb_path_exists({at}, CAST({where} AS jsonpath), CAST({given} AS jsonb))"
        return f"coalesce({found}, false)"

    def _at(self, name: Path) -> str:
        return f"(i.metadata #> CAST({self._bind(list(name))} AS text[]))"

    def _bind(self, value: object) -> str:
        name = f"filter_{len(self.binds)}"
        self.binds[name] = value
        return f":{name}"


def _nested(name: Path, value: object) -> object:
    for part in reversed(name):
        value = {part: value}
    return value
