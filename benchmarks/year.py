"""A year of nightly runs: how long their readers wait, and what retention does with them.

    python -m benchmarks.year [--quick] [--json FILE]

420 nights of 200 queries, k = 20, lie in Postgres in their weeks; each night a document of each
query's twenty is another one. Readers ask the API as a process of its own, over HTTP.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
from sqlalchemy import text

from benchmarks.report import Row, machine, print_table, write_json
from benchmarks.service_stack import Stack, running
from benchmarks.size_clock import seconds
from benchmarks.year_data import SCHEDULE, Sizes, load
from repick.media import MediaFolder
from repick.retention import Retention, ages
from repick.store.database import Database
from repick.store.rankings import USE_NOTED_EVERY

FULL, QUICK = Sizes(nights=420, queries=200, places=20), Sizes(nights=420, queries=20, places=5)
REQUESTS = 200
GOAL_MS = 20.0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rows = measure(QUICK if options.quick else FULL)
    print_table(rows)
    if options.json:
        write_json(options.json, "year", machine(), rows, quick=options.quick)
    return 0


def measure(sizes: Sizes) -> list[Row]:
    with running() as stack:
        database = Database(stack.settings.database_url, statement_timeout_s=0)
        try:
            load(database, sizes, stack.tenant_id)
            return [*_reads(stack, sizes), *_retention(database, stack)]
        finally:
            database.close()


def _reads(stack: Stack, sizes: Sizes) -> list[Row]:
    dice = random.Random(7)
    base = f"/v1/schedules/{SCHEDULE}"
    reads: dict[str, Callable[[], str]] = {
        "latest": lambda: f"{base}/latest",
        "latest_query": lambda: f"{base}/latest?query=query-{dice.randrange(sizes.queries)}",
        "history": lambda: f"{base}/queries/query-{dice.randrange(sizes.queries)}/history",
        "runs": lambda: f"{base}/runs",
    }
    with httpx.Client(
        base_url=f"http://127.0.0.1:{stack.settings.api_port}",
        headers={"Authorization": f"Bearer {stack.key}"},
        timeout=60,
    ) as http:
        return [
            Row(f"{name}_p95_ms", _p95_ms(http, path), "ms", GOAL_MS, "<=")
            for name, path in reads.items()
        ]


def _p95_ms(http: httpx.Client, path: Callable[[], str]) -> float:
    taken = sorted(seconds(lambda: http.get(path()).raise_for_status())[0] for _ in range(REQUESTS))
    return taken[int(0.95 * REQUESTS)] * 1000


def _retention(database: Database, stack: Stack) -> list[Row]:
    """A round that finds twenty nights past their age, and one that finds nothing to do."""
    settings = stack.settings
    keeper = Retention(database, MediaFolder(settings.media_folder), ages(settings))
    first, _ = seconds(lambda: keeper.run(datetime.now(UTC)))
    second, _ = seconds(lambda: keeper.run(datetime.now(UTC)))
    with database.read() as connection:
        nights = connection.execute(text("SELECT count(*) FROM job")).scalar_one()
        lost = connection.execute(_LOST).scalar_one()
        left = connection.execute(
            _LEFT, {"age": ages(settings).scores + USE_NOTED_EVERY}
        ).scalar_one()
    return [
        Row("retention_first_s", first, "s"),
        Row("retention_second_s", second, "s"),
        Row("nights_kept", nights, "nights", settings.keep_nightly_days, "<="),
        Row("kept_hits_without_score", lost, "hits", 0, "<="),
        Row("old_scores_without_ranking", left, "pairs", 0, "<="),
    ]


_RANKED = (
    "SELECT q.tenant_id, q.content_id, document FROM ranking r JOIN job_query q"
    " ON q.job_id = r.job_id AND q.query_no = r.query_no CROSS JOIN unnest(r.content_ids) document"
)
_SCORED = "SELECT tenant_id, query_id, document_id FROM pair_score"
_COUNT = "SELECT count(*) FROM ({} EXCEPT {}) missing"
_LOST = text(_COUNT.format(_RANKED, _SCORED))
_LEFT = text(_COUNT.format(f"{_SCORED} WHERE last_used_at < now() - :age", _RANKED))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
