"""Monotone maps from a margin to a probability, as they are stored and applied. Plain Python."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from repick.errors import InvalidField

MAX_KNOTS = 1000


class Method(StrEnum):
    ISOTONIC = "isotonic"  # any monotone shape, for a thousand labels or more
    PLATT = "platt"  # a logistic curve of two parameters, for fewer


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Knots: margins `x`, strictly rising, and their probabilities `y`, never falling."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def probability(self, margin: float) -> float:
        """Linear between two knots; past the ends, the first or the last probability."""
        right = bisect_right(self.x, margin)
        if right == 0:
            return self.y[0]
        if right == len(self.x):
            return self.y[-1]
        share = (margin - self.x[right - 1]) / (self.x[right] - self.x[right - 1])
        return self.y[right - 1] + share * (self.y[right] - self.y[right - 1])


@dataclass(frozen=True, slots=True)
class Platt:
    """σ(slope · margin + intercept), with a slope that is not negative (Platt, 1999)."""

    slope: float
    intercept: float

    def probability(self, margin: float) -> float:
        return logistic(self.slope * margin + self.intercept)


Map = Isotonic | Platt


def logistic(value: float) -> float:
    """σ(value), without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    small = math.exp(value)
    return small / (1 + small)


def as_json(one: Map) -> dict[str, Any]:
    """The map as `parse` takes it: `method`, and `x` and `y` or `slope` and `intercept`."""
    method = Method.ISOTONIC if isinstance(one, Isotonic) else Method.PLATT
    return {
        "method": method.value,
        **{name: list(v) if isinstance(v, tuple) else v for name, v in asdict(one).items()},
    }


def parse(value: Mapping[str, Any], field: str = "map") -> Map:
    """The map of a JSON object; raises InvalidField with the path of what is wrong.

    Codes: `unknown_method`, `unknown_field`, `invalid_number` (NaN, infinite, no number),
    `too_many_knots`, `not_monotone`, and `invalid_field` for the rest.
    """
    fields = {Method.ISOTONIC.value: {"x", "y"}, Method.PLATT.value: {"slope", "intercept"}}
    method = value.get("method")
    if not isinstance(method, str) or method not in fields:
        detail = f"one of {', '.join(fields)}"
        raise InvalidField(f"{field}.method", detail, code="unknown_method")
    if unknown := set(value) - fields[method] - {"method"}:
        name = min(unknown, key=str)
        raise InvalidField(f"{field}.{name}", f"not a field of {method}", code="unknown_field")
    if method == Method.PLATT:
        return _platt(value, field)
    x, y = (_numbers(value.get(name), f"{field}.{name}") for name in ("x", "y"))
    return _isotonic(x, y, field)


def _platt(value: Mapping[str, Any], field: str) -> Platt:
    slope = _number(value.get("slope"), f"{field}.slope")
    intercept = _number(value.get("intercept"), f"{field}.intercept")
    if slope < 0:
        detail = "a larger margin must not be less probable"
        raise InvalidField(f"{field}.slope", detail, code="not_monotone")
    return Platt(slope, intercept)


def _isotonic(x: tuple[float, ...], y: tuple[float, ...], field: str) -> Isotonic:
    if len(x) != len(y):
        raise InvalidField(f"{field}.y", "as many as in x are wanted")
    if any(b <= a for a, b in pairwise(x)):
        raise InvalidField(f"{field}.x", "margins must rise strictly", code="not_monotone")
    if any(b < a for a, b in pairwise(y)):
        raise InvalidField(f"{field}.y", "probabilities must not fall", code="not_monotone")
    if y[0] < 0 or y[-1] > 1:
        raise InvalidField(f"{field}.y", "probabilities are between 0 and 1")
    return Isotonic(x, y)


def _numbers(value: Any, field: str) -> tuple[float, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise InvalidField(field, "a list of numbers is wanted here")
    if len(value) > MAX_KNOTS:
        raise InvalidField(field, f"at most {MAX_KNOTS} knots", code="too_many_knots")
    return tuple(_number(one, f"{field}[{no}]") for no, one in enumerate(value))


def _number(value: Any, field: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) <= 1e300:  # false for NaN too
        raise InvalidField(field, "a finite number is wanted here", code="invalid_number")
    return float(value)
