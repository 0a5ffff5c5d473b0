"""What a schedule is: when it ticks, what a missed tick or a closed window does, a run's states."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from repick.errors import InvalidField

GRACE = timedelta(minutes=5)
"""A tick that is seen later than this was missed."""


class MissedPolicy(StrEnum):
    RUN = "run"  # the newest of the missed ticks is made up as soon as it is seen
    SKIP = "skip"  # the schedule waits for its next tick


class WindowPolicy(StrEnum):
    PARTIAL = "partial"  # the run ends with the queries that it has finished
    PUT_OFF = "put_off"  # the rest waits until the schedule's next tick


class Trigger(StrEnum):
    TICK = "tick"
    MADE_UP = "made_up"  # a missed tick, later
    MANUAL = "manual"  # run now
    DATE = "date"  # run for a date


class RunState(StrEnum):
    RUNNING = "running"  # its job has not ended, or nobody has looked at the end yet
    HELD = "held"  # complete, but `reasons` keep it from being the latest until confirmed
    PUBLISHED = "published"  # may be the latest
    ENDED = "ended"  # failed, cancelled or never begun; `reasons` say why


def zone(name: str) -> ZoneInfo:
    """Raises InvalidField `unknown_time_zone`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        detail = "no time zone of this name is known"
        raise InvalidField("time_zone", detail, code="unknown_time_zone") from exc


def next_tick(cron: str, time_zone: str, after: datetime) -> datetime:
    """The first tick after an instant, in UTC.

    Daylight saving as Debian's cron has it: a tick in the hour that is left out comes right after
    it, one in the hour that is repeated comes once. Raises InvalidField.
    """
    try:
        return next(_ticks(cron, time_zone, after))
    except (CronSimError, StopIteration) as exc:
        detail = "five fields are wanted, as in `0 2 * * *`, that come at least once in fifty years"
        raise InvalidField("cron", detail, code="invalid_cron") from exc


def _ticks(cron: str, time_zone: str, after: datetime) -> Iterator[datetime]:
    """Raises CronSimError."""
    if len(cron.split()) != 5:
        raise CronSimError("five fields are wanted")  # the library takes seconds as a sixth
    local = CronSim(cron, after.astimezone(zone(time_zone)))
    # From within the hour that is repeated, the library begins with the tick before it.
    return (tick for one in local if (tick := one.astimezone(UTC)) > after)


def ticks_between(cron: str, time_zone: str, first: datetime, last: datetime) -> list[datetime]:
    """The ticks in first < tick ≤ last, in UTC, the last 1,000 at most. Raises InvalidField."""
    ticks = _ticks(cron, time_zone, first)
    return list(deque(takewhile(lambda one: one <= last, ticks), maxlen=1000))


def tick_of_date(cron: str, time_zone: str, day: date) -> datetime | None:
    """The first tick of a local date, in UTC; None where it has none. Raises InvalidField."""
    local = zone(time_zone)
    midnight = datetime.combine(day, time.min, local)
    # A second before, as a tick at midnight itself is of this day.
    try:
        before = midnight.astimezone(UTC) - timedelta(seconds=1)
        tick = next_tick(cron, time_zone, before)
    except OverflowError:  # at the calendar's first or last day
        return None
    return tick if tick.astimezone(local).date() == day else None


def window_end(until: time, time_zone: str, begins: datetime) -> datetime:
    """When a window closes that opens at an instant: the next `until` of the local clock, in UTC.

    A local time that daylight saving leaves out is taken as the clock before the change has it.
    """
    local = zone(time_zone)
    day = begins.astimezone(local).date()
    for offset in (0, 1, 2):
        end = datetime.combine(day + timedelta(days=offset), until, local).astimezone(UTC)
        if end > begins:
            return end
    raise AssertionError("a day later is later")
