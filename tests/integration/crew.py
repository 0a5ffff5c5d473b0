"""A fine worker of several threads without a broker: `python -m tests.integration.crew URL FOLDER
JOB…` scores what the jobs have left, until that is nothing or a pair kills the process. Each line
on standard input starts one such process; a line with how it ended goes out."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from celery import Celery
from sqlalchemy import text

from repick.jobs import MAX_ATTEMPTS, PairScore, Stage
from repick.media import MediaFolder
from repick.settings import Settings
from repick.specs import fingerprint
from repick.store import registry
from repick.store.database import Database
from tests.fakes import FAKE_TOKENS, FakeFineModel, FakePair
from tests.integration.pipeline import SilentRuntime, at_speed
from worker.device import Device
from worker.score import SliceScorer
from worker.tasks import work

THREADS = 4
POISON = "poison"
TOGETHER_S = 1.0
"""How long the device waits for all threads' first batches, so that all are in line together."""


class DeadlyModel(FakeFineModel):
    """A query `poison` kills its process."""

    def score(self, pairs: Sequence[FakePair]) -> list[PairScore]:
        if any(pair.query.text == POISON for pair in pairs):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(pairs)


@dataclass(frozen=True)
class Crew:
    scorer: SliceScorer
    jobs: Sequence[str]

    def run(self) -> None:
        line = self.scorer.runtime.device.line
        self.scorer.runtime.device.submit(lambda: _wait_for(line, THREADS))
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._member, range(THREADS)))

    def _member(self, no: int) -> None:
        while self._left():
            for job in (*self.jobs[no:], *self.jobs[:no]):
                work(self.scorer.runtime, job, Stage.SCORE, self.scorer.run)

    def _left(self) -> int:
        statement = text(
            "SELECT count(*) FROM slice WHERE stage = 'score' AND state IN ('waiting', 'claimed')"
            " AND (attempts < :attempts OR lease_until > now())"
        )
        with self.scorer.runtime.database.begin() as connection:
            return int(connection.execute(statement, {"attempts": MAX_ATTEMPTS}).scalar_one())


def _wait_for(line: Any, count: int) -> None:
    deadline = time.monotonic() + TOGETHER_S
    while len(line) < count and time.monotonic() < deadline:
        time.sleep(0.005)


def main(url: str, folder: Path, *jobs: str) -> None:
    settings = Settings(data_dir=folder, slice_pairs=8, batch_pairs=3)
    database, model = Database(url, connections=2 * THREADS), DeadlyModel()
    media = MediaFolder(folder / "media")
    specs = {fingerprint(spec): spec for spec in model.specs}
    with Device(deadline_s=20) as device:
        runtime = SilentRuntime(settings, database, media, Celery(), device, "crew")
        with database.begin() as connection:
            provenance = registry.put_provenance(connection, model.provenance)
        fine: Any = model
        pace = at_speed(3 * FAKE_TOKENS)
        Crew(SliceScorer(runtime, fine, specs, provenance, pace), jobs).run()
    database.close()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for _ in sys.stdin:
        if (pid := os.fork()) == 0:  # before any thread, and after all that is slow to import
            signal.alarm(60)  # whoever asked waits for it
            main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
