"""A year of nightly runs of a small corpus: latest and history stay fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from repick import nightly
from repick.store import histories, runs, schedules
from tests.integration.api.harness import Tenant, finish

NIGHTS, QUERIES = 365, 50
ASKED = 60
LIMIT_MS = 20


@pytest.fixture
def year(tenant: Tenant, corpus: str) -> Tenant:
    """One run through the API, and copies of it on each night before."""
    queries = [{"id": f"q{no:02}", "text": f"query {no}"} for no in range(QUERIES)]
    tenant.http.put("/v1/corpora/things/queries", json={"queries": queries}).raise_for_status()
    schedule = {"name": "nightly", "corpus": "things", "cron": "0 2 * * *", "k": 2}
    tenant.http.post("/v1/schedules", json=schedule).raise_for_status()
    run = tenant.http.post("/v1/schedules/nightly/runs", json={}).json()["id"]
    finish(tenant, run)
    assert nightly.settle_ended(tenant.database)
    now = datetime.now(UTC)
    with tenant.database.begin() as connection:
        for night in range(1, NIGHTS):
            then = now - timedelta(days=night)
            new = UUID(int=(int(then.timestamp() * 1000) << 80) | night)
            binds = {"run": run, "new": new, "then": then}
            for statement in COPIES:
                connection.execute(text(statement), binds)
        connection.execute(text("ANALYZE job_query, ranking, schedule_run, job"))
    return tenant


def _copy(table: str, key: str, changes: str) -> str:
    return (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(one, jsonb_build_object({changes}))).*"
        f" FROM {table} one WHERE {key} = :run"
    )


_JOB = "'job_id', CAST(:new AS text)"
COPIES = (
    _copy("job", "id", "'id', CAST(:new AS text)"),
    _copy("job_query", "job_id", _JOB),
    _copy("ranking", "job_id", _JOB),
    _copy(
        "schedule_run",
        "run_id",
        "'run_id', CAST(:new AS text), 'tick', CAST(:then AS timestamptz)",
    ),
)


def test_latest_and_history_stay_fast(year: Tenant) -> None:
    with year.database.read() as connection:
        one = schedules.named(connection, year.id, "nightly")
        assert one is not None
        assert one.latest_run is not None
        count = text("SELECT count(*) FROM ranking WHERE tenant_id = :tenant")
        assert connection.execute(count, {"tenant": year.id}).scalar() == NIGHTS * QUERIES
    latest, schedule_id = one.latest_run, one.id

    def read_latest(no: int) -> int:
        with year.database.read() as connection:
            found = schedules.named(connection, year.id, "nightly")
            assert found is not None
            assert runs.by_id(connection, year.id, latest) is not None
            return len(histories.of_run(connection, year.id, latest, None, QUERIES))

    def read_history(no: int) -> int:
        name = f"q{no % QUERIES:02}"
        with year.database.read() as connection:
            found = histories.of_query(connection, year.id, schedule_id, name, None, 30)
        return len(found)

    assert _p95_ms(read_latest, QUERIES) < LIMIT_MS
    assert _p95_ms(read_history, 30) < LIMIT_MS


def test_a_querys_whole_year_is_read_page_by_page(year: Tenant) -> None:
    path: str | None = "/v1/schedules/nightly/queries/q07/history?limit=100"
    ticks: list[str] = []
    while path is not None:
        page: dict[str, Any] = year.http.get(path).json()
        ticks += [one["tick"] for one in page["items"]]
        path = page["next"]
    assert len(ticks) == NIGHTS
    assert ticks == sorted(ticks, reverse=True)


def _p95_ms(read: Callable[[int], int], expected: int) -> float:
    """Wall-clock milliseconds, as a reader waits for them."""
    times = []
    for no in range(ASKED):
        started = time.perf_counter()
        assert read(no) == expected
        times.append(time.perf_counter() - started)
    return 1000 * sorted(times)[int(0.95 * (ASKED - 1))]
