"""A hundred ticks across both changes of the clock: two sweeps, killed at ticks, a hundred runs.

The sweeps are processes, killed with SIGKILL; only the instants are simulated, told to them a tick.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import TextClause, text

from repick.schedules import ticks_between
from repick.store import schedules
from repick.store.database import Database
from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline

ZONE, CRON = "Europe/Berlin", "30 2 * * *"
SPRING = datetime(2026, 3, 4, 12, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 1, 12, tzinfo=UTC)
TICKS_EACH = 50
KILLS_AT_RANDOM, KILLS_HALF_WAY = 6, 6
PATIENCE_S = 60
_WAITING = text(
    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE NOT l.granted AND l.relation = 'job_query'::regclass"
)
_CONNECTED = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")


@dataclass
class Sweeps:
    """Two sweeps; each is known to Postgres by its name."""

    stack: ExitStack
    url: str
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    started: int = 0

    def start(self) -> str:
        self.started += 1
        name = f"sweep {self.started}"
        self.processes[name] = self.stack.enter_context(_sweeping(self.url, name))
        return name

    def kill(self, name: str) -> str:
        """SIGKILL; gives what it had still said."""
        process = self.processes.pop(name)
        process.kill()
        assert process.stdout is not None
        return process.stdout.read()

    def tell(self, now: datetime, *names: str) -> None:
        for name in names or tuple(self.processes):
            pipe = self.processes[name].stdin
            assert pipe is not None
            pipe.write(f"{now.isoformat()}\n")
            pipe.flush()

    def wait(self) -> None:
        for process in self.processes.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "swept\n"


@contextmanager
def _sweeping(url: str, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.integration.ticker", url]
    pipe, null, env = subprocess.PIPE, subprocess.DEVNULL, {**os.environ, "PGAPPNAME": name}
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=null, text=True, env=env
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_hundred_ticks_make_a_hundred_runs(pipeline: Pipeline, database_url: str) -> None:
    maker.stand(pipeline, {"q": "a query"})
    one = maker.schedule(pipeline)
    dice = random.Random(7)
    ticks = _ticks(SPRING) + _ticks(AUTUMN)
    killed_at = dice.sample(range(len(ticks)), KILLS_AT_RANDOM + KILLS_HALF_WAY)
    at_random, half_way = set(killed_at[:KILLS_AT_RANDOM]), set(killed_at[KILLS_AT_RANDOM:])
    with ExitStack() as stack:
        sweeps = Sweeps(stack, database_url)
        sweeps.start()
        sweeps.start()
        for no, tick in enumerate(ticks):
            if tick in (_ticks(SPRING)[0], _ticks(AUTUMN)[0]):
                _await_tick(pipeline, one.id, tick)
            now = tick + timedelta(seconds=dice.choice([0, 3, 200]))
            if no in half_way:
                _kill_half_way(pipeline.database, sweeps, now)
                assert len(maker.runs_of(pipeline, one)) == no  # nothing of it is left
            else:
                sweeps.tell(now)
            if no in at_random:
                time.sleep(dice.uniform(0, 0.03))
                sweeps.kill(dice.choice(list(sweeps.processes)))
            if no in at_random | half_way:
                sweeps.tell(now, sweeps.start())
            sweeps.wait()
    runs = maker.runs_of(pipeline, one)
    assert [run.tick for run in runs] == ticks
    assert len({run.run_id for run in runs}) == 2 * TICKS_EACH
    assert sweeps.started == 2 + KILLS_AT_RANDOM + KILLS_HALF_WAY


def _kill_half_way(database: Database, sweeps: Sweeps, now: datetime) -> None:
    """Kill the sweep that takes the tick after it wrote the run and the job, before their commit.

    The run's queries, which come next, are kept from it by a lock.
    """
    with database.begin() as connection:
        connection.execute(text("LOCK TABLE job_query IN SHARE MODE"))
        sweeps.tell(now)
        victim = _until(lambda: _asked(database, _WAITING))
        assert "swept" not in sweeps.kill(str(victim))
    _until(lambda: _asked(database, _CONNECTED, name=victim) == 0)


def _asked(database: Database, statement: TextClause, **binds: object) -> object:
    with database.begin() as connection:
        return connection.execute(statement, binds).scalar()


def _until(ask: Callable[[], object]) -> object:
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answer


def _ticks(start: datetime) -> list[datetime]:
    ticks = ticks_between(CRON, ZONE, start, start + timedelta(days=TICKS_EACH))
    assert len(ticks) == TICKS_EACH
    hours = {tick.hour for tick in ticks}
    assert hours >= {0, 1}  # both sides of the change
    return ticks


def _await_tick(pipeline: Pipeline, schedule_id: int, tick: datetime) -> None:
    with pipeline.database.begin() as connection:
        schedules.change(connection, pipeline.tenant_id, schedule_id, {"next_at": tick})
