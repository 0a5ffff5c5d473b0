"""When schedules tick: time zones, daylight saving both ways, dates and windows."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest

from repick.errors import InvalidField
from repick.schedules import next_tick, tick_of_date, ticks_between, window_end

BERLIN = "Europe/Berlin"


def _utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("30 2 * * *", _utc(2026, 1, 10, 12), _utc(2026, 1, 11, 1, 30)),
        ("30 2 * * *", _utc(2026, 7, 10, 12), _utc(2026, 7, 11, 0, 30)),
        # On 29 March 2026 the clock goes from 02:00 to 03:00: right after the hour left out.
        ("30 2 * * *", _utc(2026, 3, 28, 12), _utc(2026, 3, 29, 1, 0)),
        ("30 2 * * *", _utc(2026, 3, 29, 1, 0), _utc(2026, 3, 30, 0, 30)),
        # On 25 October 2026 the hour from 02:00 to 03:00 comes twice: the first one counts.
        ("30 2 * * *", _utc(2026, 10, 24, 12), _utc(2026, 10, 25, 0, 30)),
        ("30 2 * * *", _utc(2026, 10, 25, 0, 30), _utc(2026, 10, 26, 1, 30)),
        ("30 2 * * *", _utc(2026, 10, 25, 1, 0), _utc(2026, 10, 26, 1, 30)),
        ("0 3 * * MON", _utc(2026, 11, 26), _utc(2026, 11, 30, 2)),
    ],
)
def test_next_tick(cron: str, after: datetime, expected: datetime) -> None:
    assert next_tick(cron, BERLIN, after) == expected


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"])
def test_a_nightly_schedule_ticks_once_each_local_date_of_a_year(zone: str) -> None:
    ticks = ticks_between("30 2 * * *", zone, _utc(2026, 1, 1), _utc(2027, 1, 1))
    assert len(ticks) == 365
    walked, at = [], _utc(2026, 1, 1)
    while (at := next_tick("30 2 * * *", zone, at)) <= _utc(2027, 1, 1):
        walked.append(at)
    assert walked == ticks


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "61 * * * *",
        "0 0 30 2 *",
        "@daily",
        "0 0 * * * * *",
        "0 0 2 * * *",
        "a b c d e",
    ],
)
def test_bad_cron_is_refused(cron: str) -> None:
    with pytest.raises(InvalidField) as refused:
        next_tick(cron, BERLIN, _utc(2026, 1, 1))
    assert refused.value.code == "invalid_cron"


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "a\0b"])
def test_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidField) as refused:
        next_tick("0 2 * * *", zone, _utc(2026, 1, 1))
    assert refused.value.code == "unknown_time_zone"


def test_tick_of_a_date() -> None:
    assert tick_of_date("0 0 * * *", BERLIN, date(2026, 7, 1)) == _utc(2026, 6, 30, 22)
    assert tick_of_date("30 2 * * *", BERLIN, date(2026, 3, 29)) == _utc(2026, 3, 29, 1)
    assert tick_of_date("0 2 * * SUN", BERLIN, date(2026, 7, 1)) is None
    assert tick_of_date("0 0 * * *", BERLIN, date.min) is None
    assert tick_of_date("0 0 29 2 *", BERLIN, date.max) is None


@pytest.mark.parametrize(
    ("begins", "expected"),
    [
        (_utc(2026, 7, 1, 0, 30), _utc(2026, 7, 1, 4)),
        (_utc(2026, 7, 1, 4), _utc(2026, 7, 2, 4)),
        (_utc(2026, 7, 1, 20), _utc(2026, 7, 2, 4)),
        (_utc(2026, 3, 29, 0), _utc(2026, 3, 29, 4)),
        (_utc(2026, 10, 25, 0), _utc(2026, 10, 25, 5)),
    ],
)
def test_window_ends_at_the_local_time(begins: datetime, expected: datetime) -> None:
    assert window_end(time(6, 0), BERLIN, begins) == expected
    assert expected - begins <= timedelta(hours=25)
