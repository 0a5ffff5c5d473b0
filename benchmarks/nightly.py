"""A corpus's standing queries, ranked night after night, through the service.

    python -m benchmarks.nightly [--quick] [--json FILE]

The whole stack with the demo's models; pictures of drawn scenes, text queries, k = 20. The first
night scores everything, the second nothing, the third what one changed document in a hundred
brings. Then interactive jobs are timed, on the idle system and during a night.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks import nightly_order
from benchmarks.report import Row, machine, print_table, write_json
from demo import drawn, models
from repick.client import Client, Item, Query
from repick.settings import Settings
from repick.stack import Addresses, run_stack
from repick.store.database import Database

CORPUS, SCHEDULE, K = "nightly", "nightly", 20
BATCH_S = 2.0
"""What a batch is paced to take at most (worker/pace.py): an interactive job may wait for one."""
CHANGED_SHARE = 100


@dataclass(frozen=True, slots=True)
class Sizes:
    """`families` give four pictures each; `interactive` jobs are timed twice."""

    families: int
    queries: int
    interactive: int
    order_documents: int


FULL, QUICK = Sizes(500, 200, 40, 48), Sizes(30, 35, 5, 12)


@dataclass(slots=True)
class Bench:
    sizes: Sizes
    client: Client
    database: Database
    families: Sequence[drawn.Family] = field(default_factory=tuple)
    asked: int = 0

    def fill(self) -> None:
        self.families = drawn.make_families(self.sizes.families + 10, 11)
        pictures = drawn.pictures_of(self.families[: self.sizes.families])
        self.client.create_corpus(CORPUS)
        self.client.put_items(CORPUS, [Item(one.id, None, one.image) for one in pictures])
        while self.client.corpus(CORPUS).pending:
            time.sleep(0.2)
        captions = dict.fromkeys(family.caption.text for family in self.families)
        queries = [{"id": f"q{no:04}", "text": one} for no, one in enumerate(captions)]
        for first in range(0, self.sizes.queries, 100):
            last = min(first + 100, self.sizes.queries)
            self.client.schedules.put_queries(CORPUS, queries[first:last])
        self.client.schedules.create(SCHEDULE, CORPUS, "0 3 1 1 *", k=K)

    def night(self) -> Mapping[str, Any]:
        """One run, to its end and settled."""
        return self.settled(self.begin())

    def begin(self) -> str:
        return str(self.client.schedules.run(SCHEDULE)["id"])

    def settled(self, run: str) -> Mapping[str, Any]:
        while True:
            view: Mapping[str, Any] = self.client.schedules.run_of(run)
            if view["state"] != "running":
                assert view["state"] == "published", view
                return view
            time.sleep(0.1)

    def change_documents(self) -> int:
        """One document in a hundred gets another picture."""
        new = drawn.pictures_of(self.families[self.sizes.families :])
        old = drawn.pictures_of(self.families[: self.sizes.families])[::CHANGED_SHARE]
        changed = [Item(one.id, None, new[no % len(new)].image) for no, one in enumerate(old)]
        self.client.put_items(CORPUS, changed)
        while self.client.corpus(CORPUS).pending:
            time.sleep(0.2)
        return len(changed)

    def pairs(self, run: str) -> set[tuple[int, int]]:
        """(query, document) contents of a run's rankings: what it needed."""
        with self.database.begin() as connection:
            rows = connection.execute(
                text(
                    "SELECT q.content_id, unnest(r.content_ids) AS document FROM ranking r"
                    " JOIN job_query q USING (job_id, query_no) WHERE r.job_id = :run"
                ),
                {"run": run},
            )
            return {(row.content_id, row.document) for row in rows}

    def interactive_p95(self) -> float:
        """Seconds of an interactive job of one query, whose pairs nobody has scored."""
        times = []
        for _ in range(self.sizes.interactive):
            self.asked += 1
            started = time.perf_counter()
            self.client.rank(CORPUS, Query(f"picture number {self.asked}"), k=K)
            times.append(time.perf_counter() - started)
        return sorted(times)[int(0.95 * (len(times) - 1))]

    def under_load(self, idle_scorer: str) -> float:
        """The same during a night that has everything to score: by another scorer."""
        self.client.schedules.change(SCHEDULE, {"scorer": idle_scorer})
        run = self.begin()
        while self.client.job(run).progress.done == 0:
            time.sleep(0.1)
        p95 = self.interactive_p95()
        view = self.client.job(run)
        if view.state.final:
            raise RuntimeError("the night ended before the interactive jobs did")
        self.client.cancel(run)
        return p95


def measure(bench: Bench) -> list[Row]:
    bench.fill()
    first, second = bench.night(), bench.night()
    before = bench.pairs(first["id"])
    changed = bench.change_documents()
    third = bench.night()
    expected = len(bench.pairs(third["id"]) - before)
    figures = [run["figures"] for run in (first, second, third)]
    idle = bench.interactive_p95()
    busy = bench.under_load(_other_scorer(bench.client, figures[0]["scorer"]))
    per_s = figures[0]["pairs_scored"] / figures[0]["device_s"]
    batch_s = min(BATCH_S, Settings().batch_pairs / per_s)
    second_ms = 1000 * figures[1]["duration_s"]
    return [
        Row("first_pairs", figures[0]["pairs_scored"], "pairs"),
        Row("first_pairs_per_s", per_s, "/s"),
        Row("second_scored", figures[1]["pairs_scored"], "pairs", 0, "<="),
        Row("second_ms_per_pair", second_ms / figures[1]["pairs_total"], "ms", 1, "<="),
        Row("second_ms_per_query", second_ms / figures[1]["queries"], "ms", 10, "<="),
        Row("third_changed_documents", changed, "items"),
        Row("third_scored", figures[2]["pairs_scored"], "pairs"),
        Row("third_scored_minus_expected", figures[2]["pairs_scored"] - expected, "pairs", 0, "<="),
        Row("interactive_p95_idle_s", idle, "s"),
        Row("interactive_p95_nightly_s", busy, "s"),
        Row("nightly_batch_s", batch_s, "s"),
        Row("interactive_p95_ratio", max(0.0, busy - batch_s) / idle, "×", 1.5, "<="),
    ]


def _other_scorer(client: Client, name: str) -> str:
    """Another readout of the same model: the same queue and device, and no score in the ledger."""
    model = name.partition(":")[0]
    return next(
        str(one["name"])
        for one in client.scorers()
        if one["name"] != name and str(one["name"]).partition(":")[0] == model
    )


def order_rows(documents: int) -> list[Row]:
    orders = nightly_order.measure(documents)
    return [
        Row("document_major_pairs_per_s", orders.pairs / orders.document_s, "/s"),
        Row("query_major_pairs_per_s", orders.pairs / orders.query_s, "/s"),
        Row("document_major_x", orders.gain, "×", 1, ">="),
        Row("order_largest_difference", orders.largest_difference, "margin", 1e-4, "<="),
    ]


def through_the_service(sizes: Sizes) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="repick-nightly-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, Postgres runs as another user
        values: dict[str, Any] = {**models.settings(folder), "readouts": "choice,yes_no"}

        def run(addresses: Addresses) -> int:
            database = Database(addresses.database_url, connections=2)
            with Client(addresses.api_url, addresses.api_key) as client:
                rows.extend(measure(Bench(sizes, client, database)))
            database.close()
            return 0

        if code := run_stack(Settings(data_dir=folder, **values), on_ready=run, quiet=True):
            raise SystemExit(code)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="120 documents, 35 queries")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    sizes = QUICK if args.quick else FULL
    rows = through_the_service(sizes) + order_rows(sizes.order_documents)
    print_table(rows)
    if args.json:
        write_json(args.json, "nightly", machine(), rows, quick=args.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
