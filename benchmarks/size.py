"""What scores and rankings cost in Postgres at size: time and bytes of each, for docs/sizing.md.

    python -m benchmarks.size [--quick] [--json FILE]

Loads pair scores and two runs' rankings by COPY into an embedded Postgres of its own, then measures
what the service does with them, through the store's own functions.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from sqlalchemy import text

from benchmarks.report import Row, machine, print_table, write_json
from benchmarks.size_data import PLACES, Loaded, Sizes, load
from repick import embedded
from repick.store import comparing, histories, rankings
from repick.store.database import Database, migrate

QUICK, FULL = Sizes(scores=50_000, queries=1_000), Sizes(scores=5_000_000, queries=100_000)
TABLES = ("pair_score", "ranking", "job_query")
_REPEATS = 50


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rows = measure(QUICK if options.quick else FULL)
    print_table(rows)
    if options.json:
        write_json(options.json, "size", machine(), rows, quick=options.quick)
    return 0


def measure(sizes: Sizes) -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="repick-size-"))
    folder.chmod(0o711)  # as root, Postgres runs as another user
    try:
        url = embedded.start(folder).database_url
        migrate(url)
        database = Database(url, statement_timeout_s=0)
        try:
            return _measure(database, sizes)
        finally:
            database.close()
    finally:
        embedded.remove(folder)
        shutil.rmtree(folder)


def _measure(database: Database, sizes: Sizes) -> list[Row]:
    rows: list[Row] = []

    def took(metric: str, seconds: float, per: int, unit: str = "µs") -> None:
        rows.append(Row(metric, seconds / per * 1e6, unit))

    loaded, times = load(database, sizes)
    took("copy_us_per_score", times.scores_s, sizes.scores)
    took("copy_us_per_ranking", times.rankings_s, 2 * sizes.queries)
    with database.autocommit() as connection:
        connection.execute(text("ANALYZE"))
        counts = {"pair_score": sizes.scores, "ranking": 2 * sizes.queries}
        counts["job_query"] = 2 * sizes.queries
        for table in TABLES:
            rows.append(Row(f"bytes_per_{table}", _bytes(database, table) / counts[table], "B"))
    rows.append(Row("ledger_lookup_us_per_pair", _lookup(database, loaded) * 1e6, "µs"))
    took("rank_read_us_per_query", _seconds(lambda: _read_all(database, loaded)), sizes.queries)
    summary = _seconds(lambda: _summary(database, loaded))
    took("diff_us_per_query", summary, sizes.queries)
    rows.append(Row("diff_page_ms", _p95(lambda: _diff_page(database, loaded)), "ms"))
    rows.append(Row("latest_one_query_p95_ms", _p95(lambda: _latest(database, loaded)), "ms"))
    took("delete_run_us_per_ranking", _seconds(lambda: _delete(database, loaded)), sizes.queries)
    return rows


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def _p95(do: Callable[[], object]) -> float:
    """Milliseconds."""
    taken = sorted(_seconds(do) * 1000 for _ in range(_REPEATS))
    return taken[int(0.95 * len(taken))]


def _bytes(database: Database, table: str) -> int:
    """With its indexes and partitions."""
    with database.read() as connection:
        found = connection.execute(
            text(
                "SELECT sum(pg_total_relation_size(relid)) FROM (SELECT relid"
                " FROM pg_partition_tree(CAST(:table AS regclass))"
                " UNION SELECT CAST(:table AS regclass)) parts"
            ),
            {"table": table},
        )
        return int(found.scalar_one())


def _lookup(database: Database, loaded: Loaded) -> float:
    """Seconds to find one pair's score, in batches of one query's documents; the median."""
    statement = text(
        "SELECT count(*) FROM pair_score WHERE tenant_id = :tenant AND query_id = :query"
        " AND scorer_id = :scorer AND document_id = ANY(:documents)"
    )
    taken: list[float] = []
    for query, documents in loaded.sample:
        with database.read() as connection:
            started = time.perf_counter()
            found = connection.execute(
                statement,
                {
                    "tenant": loaded.tenant_id,
                    "query": query,
                    "scorer": loaded.scorer_id,
                    "documents": documents,
                },
            ).scalar_one()
            taken.append((time.perf_counter() - started) / found)
    return median(taken)


def _read_all(database: Database, loaded: Loaded) -> None:
    past = -1
    while True:
        with database.read() as connection:
            page = rankings.read(connection, loaded.tenant_id, loaded.second, past, 500)
        if not page:
            return
        past = page[-1].query_no


def _summary(database: Database, loaded: Loaded) -> None:
    with database.begin() as connection:
        found = comparing.summary(connection, loaded.tenant_id, loaded.first, loaded.second)
    if found.churn is None:
        raise RuntimeError("the two runs have no query in common")


def _diff_page(database: Database, loaded: Loaded) -> None:
    with database.read() as connection:
        comparing.page(
            connection, loaded.tenant_id, loaded.first, loaded.second, loaded.middle, PLACES * 2
        )


def _latest(database: Database, loaded: Loaded) -> None:
    with database.read() as connection:
        name = f"q{loaded.middle}"
        if not histories.of_run(connection, loaded.tenant_id, loaded.second, name, 1):
            raise RuntimeError("the query has no ranking")


def _delete(database: Database, loaded: Loaded) -> None:
    with database.begin() as connection:
        connection.execute(text("DELETE FROM job WHERE id = :job"), {"job": loaded.first})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
