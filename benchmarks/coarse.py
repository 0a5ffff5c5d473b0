"""The coarse stage: recall and speed of a space's search, plain and under filters.

    python -m benchmarks.coarse [--quick] [--json FILE]

100,000 items (10,000 with --quick) of 512 dimensions in planted clusters, with the index that the
sweep would build. Truth is the exact order by the same half-precision vectors, computed by numpy.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import make_url

from benchmarks.coarse_data import DIMENSION, Data, fill, make
from benchmarks.report import Row, machine, print_table, write_json
from repick import embedded
from repick.filters import Filter, parse
from repick.store import spaces
from repick.store.database import Database, migrate
from repick.store.spaces import Space
from repick.store.tenancy import Role

K = 100
FILTERS = {"50": 500, "10": 100, "1": 10, "01": 1}
"""Selectivities in percent by how many thousandths of the items match."""
FORCE = "SET LOCAL enable_seqscan = off"
RECALL_GOAL, FILTER_RECALL_GOAL = 0.99, 0.95


@dataclass(frozen=True, slots=True)
class Bench:
    database: Database
    raw: psycopg.Connection
    space: Space
    data: Data
    forced: bool
    """Keep the planner from scanning all, which pays where there are few items."""

    def search(self, query: NDArray[np.float32], only: Filter | None) -> list[int]:
        with self.database.begin() as connection:
            if self.forced and only is None:
                connection.exec_driver_sql(FORCE)
            found = spaces.search(connection, self.space, query.tolist(), K, only)
        return [one.item_id for one in found]

    def bare(self, query: NDArray[np.float32]) -> list[int]:
        """The index asked by hand: one statement and the same setting, in a transaction too."""
        kind = f"halfvec({DIMENSION})"
        literal = "[" + ",".join(map(repr, query.tolist())) + "]"
        with self.raw.transaction():
            if self.forced:
                self.raw.execute(FORCE)
            self.raw.execute("SET LOCAL hnsw.ef_search = 200")
            rows = self.raw.execute(
                f"SELECT item_id FROM {self.space.partition}"  # noqa: S608  (our own name)
                f" ORDER BY vector::{kind} <=> %s::{kind} LIMIT {K}",
                [literal],
            ).fetchall()
        return [row[0] for row in rows]


def plain(bench: Bench) -> list[Row]:
    """Without a filter, in turn with the bare statement so that both see the same machine.

    Whoever asks second finds the pages that a query needs in the caches: each does so every other
    time.
    """
    truth = bench.data.nearest(K, None)
    ours: list[float] = []
    bare: list[float] = []
    recalls = []
    for no, (query, best) in enumerate(zip(bench.data.queries, truth, strict=True)):
        if no % 2:
            _timed(bare, bench.bare, query)
        found = _timed(ours, bench.search, query, None)
        recalls.append(_recall(found, best))
        if not no % 2:
            _timed(bare, bench.bare, query)
    p50 = 1000 * statistics.median(ours)
    sql = 1000 * statistics.median(bare)
    return [
        Row("recall_at_100", statistics.fmean(recalls), "share", RECALL_GOAL, ">="),
        Row("p50_ms", p50, "ms", 5.0, "<="),
        Row("sql_p50_ms", sql, "ms"),
        Row("ratio_to_sql", p50 / sql, "x", 1.2, "<="),
    ]


def filtered(bench: Bench, name: str, thousandths: int) -> list[Row]:
    """One selectivity: recall, whether k results came wherever k exist, and the time."""
    only = parse({"field": "part", "range": {"lt": thousandths}})
    truth = bench.data.nearest(K, thousandths)
    seconds: list[float] = []
    recalls, full = [], []
    for query, best in zip(bench.data.queries, truth, strict=True):
        found = _timed(seconds, bench.search, query, only)
        recalls.append(_recall(found, best))
        full.append(len(found) == len(best))
    return [
        Row(f"filter_{name}_recall", statistics.fmean(recalls), "share", FILTER_RECALL_GOAL, ">="),
        Row(f"filter_{name}_full", statistics.fmean(full), "share", 1.0, ">="),
        Row(f"filter_{name}_p50_ms", 1000 * statistics.median(seconds), "ms", 50.0, "<="),
    ]


def _check_index(bench: Bench) -> None:
    """Stop where the planner scans everything: figures of an index need one."""
    kind, vector = f"halfvec({DIMENSION})", bench.data.queries[0].tolist()
    with bench.raw.transaction():
        if bench.forced:
            bench.raw.execute(FORCE)
        plan = bench.raw.execute(
            f"EXPLAIN SELECT item_id FROM {bench.space.partition}"  # noqa: S608  (our own name)
            f" ORDER BY vector::{kind} <=> '{vector}'::{kind} LIMIT {K}"
        ).fetchall()
    if not any("_hnsw" in line for (line,) in plan):
        raise SystemExit("the planner does not use the index:\n" + "\n".join(x for (x,) in plan))


def _timed(seconds: list[float], ask: Callable[..., list[int]], *arguments: object) -> list[int]:
    started = time.perf_counter()
    found = ask(*arguments)
    seconds.append(time.perf_counter() - started)
    return found


def _recall(found: Sequence[int], best: Sequence[int]) -> float:
    return len(set(found) & set(best)) / len(best)


@contextmanager
def opened(quick: bool) -> Iterator[tuple[Bench, float]]:
    """A filled and indexed space on embedded servers, and how long its index took."""
    with tempfile.TemporaryDirectory(prefix="repick-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, Postgres runs as another user
        servers = embedded.start(folder)
        try:
            migrate(servers.database_url)
            owner = Database(servers.database_url, statement_timeout_s=0)
            worker = Database(servers.database_url, role=Role.SERVICE)
            address = make_url(servers.database_url).set(drivername="postgresql")
            with psycopg.connect(address.render_as_string(hide_password=False)) as raw:
                raw.autocommit = True
                data = make(10_000 if quick else 100_000, 100 if quick else 200)
                space, took = fill(owner, raw, data)
                yield Bench(worker, raw, space, data, forced=quick), took
            worker.close()
            owner.close()
        finally:
            embedded.remove(folder)


def measure(bench: Bench, index_s: float) -> list[Row]:
    for query in bench.data.queries[:10]:  # the first call of anything is not what is measured
        bench.search(query, None)
        bench.bare(query)
    _check_index(bench)
    rows = plain(bench)
    for name, thousandths in FILTERS.items():
        rows += filtered(bench, name, thousandths)
    return [*rows, Row("index_s", index_s, "s")]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with opened(options.quick) as (bench, index_s):
        rows = measure(bench, index_s)
    print_table(rows)
    if options.json:
        write_json(options.json, "coarse", machine(), rows, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
