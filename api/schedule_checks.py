"""Requests about schedules, checked as far as that goes without a server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any

from api.drafts import check_metadata
from api.schedule_schemas import SchedulePatch, ScheduleRequest
from repick import alarms, filters
from repick.errors import InvalidField
from repick.schedules import next_tick
from repick.settings import Settings
from repick.store.schedules import Schedule

_REQUIRED = frozenset(
    ("cron", "time_zone", "missed", "after_until", "k", "top_n", "blend", "alarms", "metadata")
)


def columns(request: ScheduleRequest, settings: Settings) -> dict[str, Any]:
    """A new schedule's columns, without its corpus. Raises InvalidField."""
    values = request.model_dump(exclude={"corpus"})
    values["top_n"] = values["top_n"] or values["k"]
    return _checked(values, values, settings)


def changes(patch: SchedulePatch, one: Schedule, settings: Settings) -> dict[str, Any]:
    """The columns that a patch changes. Raises InvalidField."""
    given = {name: getattr(patch, name) for name in patch.model_fields_set}
    for name in sorted(_REQUIRED & given.keys()):
        if given[name] is None:
            raise InvalidField(name, "this cannot be null")
    if "k" in given and "top_n" not in given:
        given["top_n"] = min(one.top_n, given["k"])
    before = {name: getattr(one, name) for name in SchedulePatch.model_fields}
    return _checked(given, before | given, settings)


def _checked(given: dict[str, Any], whole: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """`given` with its values made those of columns; `whole` is the schedule as it will be."""
    next_tick(whole["cron"], whole["time_zone"], datetime.now(UTC))
    if whole["k"] > settings.max_k:
        raise InvalidField("k", f"k is at most {settings.max_k}")
    if whole["top_n"] > whole["k"]:
        raise InvalidField("top_n", "top_n is at most k")
    if whole["filter"] is not None:
        filters.parse(whole["filter"])
    for name in ("metadata", "alarms"):
        check_metadata(whole[name], name)
    alarms.parse(whole["alarms"])
    if isinstance(given.get("until"), str):
        given["until"] = time.fromisoformat(given["until"])
    return given


def day(given: str) -> date:
    """Raises InvalidField `invalid_date`."""
    try:
        return date.fromisoformat(given)
    except ValueError as exc:
        raise InvalidField("date", "there is no such day", code="invalid_date") from exc
