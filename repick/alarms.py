"""Alarms: a schedule's thresholds, and what a run did that passes them. Pure.

What cannot be judged (a first run has nothing to compare with) raises no alarm.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from repick.compare import Summary
from repick.errors import InvalidField


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Each is passed when the figure is beyond it; None is never passed.

    `hold` keeps `latest` where it is until somebody confirms the run; without it a run with
    alarms is published, and its reasons say what they were.
    """

    max_churn: float | None = None
    max_top1_churn: float | None = None
    min_rank_biased_overlap: float | None = None
    max_failed_pairs: float | None = None
    max_failed_queries: float | None = None
    max_duration_s: float | None = None
    max_label_mass_drift: float | None = None
    hold: bool = True

    @property
    def compare(self) -> bool:
        """Whether judging needs the run's comparison with the one before."""
        needs = (self.max_churn, self.max_top1_churn, self.min_rank_biased_overlap)
        return any(one is not None for one in needs)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A figure beyond its threshold; `code` is stable, as in `churn`."""

    code: str
    value: float
    threshold: float


SHARES = frozenset(
    one.name for one in fields(Thresholds) if one.name not in {"max_duration_s", "hold"}
)


def parse(value: Mapping[str, Any]) -> Thresholds:
    """A schedule's `alarms`. Raises InvalidField for what is no threshold."""
    names = {one.name for one in fields(Thresholds)}
    for name, one in value.items():
        field = f"alarms.{name}"
        if name not in names:
            raise InvalidField(field, f"one of {', '.join(sorted(names))}", code="unknown_field")
        if name == "hold":
            if not isinstance(one, bool):
                raise InvalidField(field, "true or false")
            continue
        _check_number(field, one, 1.0 if name in SHARES else sys.float_info.max)
    return Thresholds(**value)


def _check_number(field: str, one: object, most: float) -> None:
    if one is None:
        return
    number = isinstance(one, int | float) and not isinstance(one, bool)
    if not number or not 0 <= one <= most:  # type: ignore[operator]
        detail = "a number from 0 to 1" if most == 1 else "a number of seconds, at least 0"
        raise InvalidField(field, detail)


def alarms(
    figures: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    summary: Summary | None,
    thresholds: Thresholds,
) -> tuple[Alarm, ...]:
    """What a run with these figures passes.

    `before` are the figures of the run that it is compared with, `summary` is the comparison.
    """
    read: Mapping[str, tuple[Callable[[], float | None], float | None]] = {
        "churn": (lambda: summary.churn if summary else None, thresholds.max_churn),
        "top1_churn": (lambda: summary.top1_churn if summary else None, thresholds.max_top1_churn),
        "failed_pairs": (lambda: _failed_pairs(figures), thresholds.max_failed_pairs),
        "failed_queries": (lambda: _failed_queries(figures), thresholds.max_failed_queries),
        "duration_s": (lambda: figures.get("duration_s"), thresholds.max_duration_s),
        "label_mass_drift": (lambda: _drift(figures, before), thresholds.max_label_mass_drift),
    }
    found = [_above(code, value(), most) for code, (value, most) in read.items()]
    overlap, least = summary.rbo_mean if summary else None, thresholds.min_rank_biased_overlap
    if overlap is not None and least is not None and overlap < least:
        found.append(Alarm("rank_biased_overlap", overlap, least))
    return tuple(one for one in found if one is not None)


def _above(code: str, value: float | None, most: float | None) -> Alarm | None:
    if value is None or most is None or value <= most:
        return None
    return Alarm(code, value, most)


def _failed_pairs(figures: Mapping[str, Any]) -> float | None:
    total = figures.get("pairs_total")
    return figures["pairs_failed"] / total if total else None


def _failed_queries(figures: Mapping[str, Any]) -> float | None:
    total = figures.get("queries")
    return (total - figures["rankings"]) / total if total else None


def _drift(figures: Mapping[str, Any], before: Mapping[str, Any] | None) -> float | None:
    """How far the mean label mass is from the run's before, where one scorer judged both."""
    if before is None or before.get("scorer_fingerprint") != figures.get("scorer_fingerprint"):
        return None
    old, new = before.get("label_mass_mean"), figures.get("label_mass_mean")
    return None if old is None or new is None else abs(float(new) - float(old))
