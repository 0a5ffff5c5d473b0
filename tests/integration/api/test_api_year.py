"""A year of nightly runs of a small corpus: latest and history are whole, page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from repick import nightly
from tests.integration.api.harness import Tenant, finish

NIGHTS, QUERIES = 365, 50


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


def test_latest_is_the_last_night_and_the_list_holds_every_one(year: Tenant) -> None:
    nights = _pages(year, "/v1/schedules/nightly/runs?limit=100")
    ticks = [one["tick"] for one in nights]
    assert len({one["id"] for one in nights}) == NIGHTS
    assert ticks == sorted(ticks, reverse=True)
    latest = year.http.get("/v1/schedules/nightly/latest").json()
    assert latest["run"]["id"] == nights[0]["id"]
    names = [one["standing_query"] for one in latest["rankings"]]
    assert names == [f"q{no:02}" for no in range(QUERIES)]


def test_a_querys_whole_year_is_read_page_by_page(year: Tenant) -> None:
    rankings = _pages(year, "/v1/schedules/nightly/queries/q07/history?limit=100")
    ticks = [one["tick"] for one in rankings]
    assert len(ticks) == NIGHTS
    assert ticks == sorted(ticks, reverse=True)
    assert all({hit["id"] for hit in one["ranking"]["hits"]} == {"cup", "dog"} for one in rankings)


def _pages(tenant: Tenant, path: str | None) -> list[dict[str, Any]]:
    """The values of a list from its first page to its last."""
    found: list[dict[str, Any]] = []
    while path is not None:
        page: dict[str, Any] = tenant.http.get(path).raise_for_status().json()
        found += page["items"]
        path = page["next"]
    return found
