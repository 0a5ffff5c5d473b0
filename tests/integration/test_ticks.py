"""A hundred ticks across both changes of the clock: two sweeps, killed at ticks, a hundred runs."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

from repick.schedules import ticks_between
from repick.store import schedules
from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline

ZONE, CRON = "Europe/Berlin", "30 2 * * *"
SPRING = datetime(2026, 3, 4, 12, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 1, 12, tzinfo=UTC)
TICKS_EACH = 50
KILLS = 6


@contextmanager
def sweeping(url: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.integration.ticker", url]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, text=True) as process:
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
    killed_at = set(dice.sample(range(len(ticks)), KILLS))
    interrupted = 0
    with ExitStack() as stack:
        sweeps = [stack.enter_context(sweeping(database_url)) for _ in range(2)]
        for no, tick in enumerate(ticks):
            if tick in (_ticks(SPRING)[0], _ticks(AUTUMN)[0]):
                _await_tick(pipeline, one.id, tick)
            now = tick + timedelta(seconds=dice.choice([0, 3, 200]))
            for process in sweeps:
                _tell(process, now)
            if no in killed_at:
                time.sleep(dice.uniform(0, 0.03))
                victim = dice.randrange(2)
                sweeps[victim].kill()
                interrupted += "swept" not in _rest(sweeps[victim])
                sweeps[victim] = stack.enter_context(sweeping(database_url))
                _tell(sweeps[victim], now)
            for process in sweeps:
                assert process.stdout is not None
                assert process.stdout.readline() == "swept\n"
    runs = maker.runs_of(pipeline, one)
    assert [run.tick for run in runs] == ticks
    assert len({run.run_id for run in runs}) == 2 * TICKS_EACH
    assert interrupted > 0  # or no kill came before its sweep was done


def _ticks(start: datetime) -> list[datetime]:
    ticks = ticks_between(CRON, ZONE, start, start + timedelta(days=TICKS_EACH))
    assert len(ticks) == TICKS_EACH
    hours = {tick.hour for tick in ticks}
    assert hours >= {0, 1}  # both sides of the change
    return ticks


def _await_tick(pipeline: Pipeline, schedule_id: int, tick: datetime) -> None:
    with pipeline.database.begin() as connection:
        schedules.change(connection, pipeline.tenant_id, schedule_id, {"next_at": tick})


def _tell(process: subprocess.Popen[str], now: datetime) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{now.isoformat()}\n")
    process.stdin.flush()


def _rest(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.read()
