"""What scores and rankings cost in Postgres at size: time and bytes of each, for docs/sizing.md.

    python -m benchmarks.size [--quick] [--json FILE]

Loads 5 M pair scores, three runs' 100,000 rankings of 50 and the 5 M candidates of a fourth into an
embedded Postgres of its own, as it is started without a server, then measures what the service
does with them, through the store's own functions.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import text

from benchmarks import size_night, size_reads
from benchmarks.report import Row, machine, print_table, write_json
from benchmarks.size_clock import seconds
from benchmarks.size_data import Sizes, load
from repick import embedded
from repick.store.database import Database, migrate

QUICK, FULL = Sizes(queries=1_000, sampled=200), Sizes(queries=100_000, sampled=5_000)
TABLES = {"pair_score": 50, "ranking": 3, "job_query": 4, "candidate": 50}
"""Rows a query as loaded."""


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
    taken, loaded = seconds(lambda: load(database, sizes))
    rows = [Row("load_s", taken, "s")]
    rows += [
        Row(f"bytes_per_{table}", _bytes(database, table) / (each * sizes.queries), "B")
        for table, each in TABLES.items()
    ]
    rows += size_reads.measure(database, sizes, loaded)
    rows += size_night.measure(database, sizes, loaded)
    return rows


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
