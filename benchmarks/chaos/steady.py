"""A steady load without faults: memory, broker keys and dead rows must not grow, nor a backlog."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import psutil
import redis
from sqlalchemy import text

from benchmarks.chaos.client import Client
from benchmarks.chaos.stack import Stack
from benchmarks.report import Row
from repick.store.database import Database

SAMPLE_S = 5.0
JOBS_A_SAMPLE = 5
K = 20
_MIB = 1024 * 1024
_DEAD = """
SELECT coalesce(sum(n_dead_tup), 0)::float / greatest(1, sum(n_dead_tup + n_live_tup))
  FROM pg_stat_user_tables
"""
_WORK = """
SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_stat_user_tables
 WHERE relname LIKE 'candidate%' OR relname LIKE 'slice%' OR relname LIKE 'pending%'
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """`resident` in MiB by process; `work` the MiB of tables whose rows go with their job."""

    resident: dict[str, float]
    keys: int
    dead_share: float
    work: float


def steady(stack: Stack, client: Client, minutes: int) -> list[Row]:
    """A job a second of K pairs; from the second fifth of the time to its last."""
    database = Database(stack.servers.database_url, connections=2)
    samples: list[Sample] = []
    ends = time.monotonic() + minutes * 60
    try:
        while (started := time.monotonic()) < ends:
            for number in range(JOBS_A_SAMPLE):
                client.submit(f"steady {len(samples)} {number}", K, "succeed")
            samples.append(_sample(stack, database))
            time.sleep(max(0.0, started + SAMPLE_S - time.monotonic()))
        return [*_rows(samples), Row("steady_unfinished", _unfinished(database), "jobs", 0, "<=")]
    finally:
        database.close()


def _unfinished(database: Database) -> int:
    """Jobs that have not succeeded a minute after the last submit."""
    deadline = time.monotonic() + 60
    while True:
        with database.begin() as connection:
            statement = text("SELECT count(*) FROM job WHERE state <> 'succeeded'")
            left = int(connection.execute(statement).scalar_one())
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


def _sample(stack: Stack, database: Database) -> Sample:
    resident = {
        name: psutil.Process(process.pid).memory_info().rss / _MIB
        for name, process in stack.processes.items()
    }
    with redis.Redis.from_url(stack.servers.broker_url) as broker:
        keys = int(str(broker.dbsize()))
    with database.begin() as connection:
        dead = float(connection.execute(text(_DEAD)).scalar_one())
        work = float(connection.execute(text(_WORK)).scalar_one()) / _MIB
    return Sample(resident, keys, dead, work)


def _rows(samples: Sequence[Sample]) -> list[Row]:
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth], samples[-fifth:]

    def growth(name: str) -> float:
        before = fmean(one.resident[name] for one in early)
        return 100 * (fmean(one.resident[name] for one in late) / before - 1)

    keys = [fmean(one.keys for one in part) for part in (early, late)]
    work = [max(one.work for one in part) for part in (early, late)]
    return [
        Row("steady_jobs", len(samples) * JOBS_A_SAMPLE, "jobs"),
        *(Row(f"steady_{name}_memory", growth(name), "%", 5, "<=") for name in early[0].resident),
        Row("steady_broker_keys", keys[1] - keys[0], "keys", 5, "<="),
        Row("steady_work_tables_x", work[1] / max(work[0], 1e-9), "x"),
        Row("steady_dead_rows", 100 * late[-1].dead_share, "%", 30, "<="),
    ]
