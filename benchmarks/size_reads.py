"""What readers of runs ask for."""

from __future__ import annotations

from benchmarks.report import Row
from benchmarks.size_clock import p95_ms, seconds
from benchmarks.size_data import PLACES, SCHEDULE, Loaded, Sizes
from repick.store import comparing, histories, rankings, runs, schedules
from repick.store.database import Database

HISTORY = 30


def measure(database: Database, sizes: Sizes, loaded: Loaded) -> list[Row]:
    read, _ = seconds(lambda: _read_all(database, loaded))
    diff, _ = seconds(lambda: _summary(database, loaded))
    step = max(1, sizes.queries // 60)
    return [
        Row("read_us_per_ranking", read / sizes.queries * 1e6, "µs"),
        Row("diff_us_per_query", diff / sizes.queries * 1e6, "µs"),
        Row("diff_page_p95_ms", p95_ms(lambda no: _diff_page(database, loaded, no * step)), "ms"),
        Row("latest_query_p95_ms", p95_ms(lambda no: _latest(database, loaded, no * step)), "ms"),
        Row("latest_page_p95_ms", p95_ms(lambda _: _latest(database, loaded, None)), "ms"),
        Row("history_p95_ms", p95_ms(lambda no: _history(database, loaded, no * step)), "ms"),
    ]


def _read_all(database: Database, loaded: Loaded) -> None:
    past = -1
    while True:
        with database.read() as connection:
            page = rankings.read(connection, loaded.tenant_id, loaded.after, past, 500)
        if not page:
            return
        past = page[-1].query_no


def _summary(database: Database, loaded: Loaded) -> None:
    with database.begin() as connection:
        found = comparing.summary(connection, loaded.tenant_id, loaded.before, loaded.after)
    if found.churn is None:
        raise RuntimeError("the two runs have no query in common")


def _diff_page(database: Database, loaded: Loaded, past: int) -> None:
    with database.read() as connection:
        comparing.page(connection, loaded.tenant_id, loaded.before, loaded.after, past, PLACES * 2)


def _latest(database: Database, loaded: Loaded, query: int | None) -> None:
    """As `GET …/latest` reads, one query or a page of a thousand hits."""
    name = None if query is None else f"query-{query}"
    with database.read() as connection:
        one = schedules.named(connection, loaded.tenant_id, SCHEDULE)
        assert one is not None
        assert one.latest_run == loaded.after
        runs.by_id(connection, loaded.tenant_id, loaded.after)
        if not histories.of_run(connection, loaded.tenant_id, loaded.after, name, 1000 // PLACES):
            raise RuntimeError("the query has no ranking")


def _history(database: Database, loaded: Loaded, query: int) -> None:
    """All that is loaded of it: three runs."""
    with database.read() as connection:
        histories.of_query(
            connection, loaded.tenant_id, loaded.schedule_id, f"query-{query}", None, HISTORY
        )
