"""The faults: what each does, a seeded schedule of them, and who had what when it struck."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text

from benchmarks.chaos.stack import FINE, Stack
from repick.errors import Unavailable
from repick.jobs import Stage
from repick.queue import make_app, publish
from repick.store.database import Database
from repick.store.slices import Dispatch

Held = tuple[str, str, int, str]
"""A slice as its worker held it: job, stage, number, token."""

COUNTS = {
    "kill fine": 20,
    "kill coarse": 5,
    "kill api": 5,
    "kill sweep": 3,
    "restart broker": 3,
    "wipe broker": 2,
    "silence broker": 3,
    "slow broker": 3,
    "postgres immediate": 3,
    "stall fine": 20,
    "stray messages": 3,
}
"""Those of the long run; a shorter one scales them, one of each kind at least."""


@dataclass(frozen=True, slots=True)
class Fault:
    at_s: float
    kind: str


def schedule(seed: int, seconds: float, scale: float) -> list[Fault]:
    """Every kind `scale` times its count, at least once, at random times."""
    chance = random.Random(seed)
    kinds = [kind for kind, n in COUNTS.items() for _ in range(max(1, round(n * scale)))]
    return sorted(
        (Fault(chance.uniform(0.05, 1) * seconds, kind) for kind in kinds),
        key=lambda fault: fault.at_s,
    )


@dataclass(slots=True)
class Injector:
    """Injects faults, revives what died, and times how long orphaned slices waited."""

    stack: Stack
    database: Database
    chance: random.Random
    killed: list[int] = field(default_factory=list)
    """The pids of fine workers that were killed."""
    injected: list[str] = field(default_factory=list)
    rescues: list[tuple[str, float]] = field(default_factory=list)
    """Each orphaned slice's fault, and the seconds until it was another's or done."""
    _orphans: dict[Held, tuple[str, float]] = field(default_factory=dict)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def inject(self, kind: str) -> None:
        action, _, target = kind.partition(" ")
        self.injected.append(kind)
        if action in ("kill", "stall"):
            name = self.chance.choice(FINE) if target == "fine" else target
            (self._kill if action == "kill" else self._stall)(name, kind)
            return
        {
            "restart broker": self.stack.restart_broker,
            "wipe broker": self.stack.flush_broker,
            "silence broker": self.stack.proxy.silence,
            "slow broker": self._slow,
            "postgres immediate": self.stack.stop_postgres_at_once,
            "stray messages": self._stray,
        }[kind]()

    def step(self) -> None:
        """To be called again and again: ends stalls, revives, and looks after orphans."""
        now = time.monotonic()
        due = [action for at, action in self._later if at <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        for action in due:
            action()
        self.stack.revive()
        self._watch()

    @property
    def quiet(self) -> bool:
        """Whether no stall is going on and no orphan waits."""
        return not self._later and not self._orphans

    def _kill(self, name: str, kind: str) -> None:
        process = self.stack.processes.get(name)
        if process is None or process.poll() is not None:
            return
        pid = self.stack.kill(name)
        if name in FINE:
            self.killed.append(pid)
        self._orphaned(pid, kind)

    def _stall(self, name: str, kind: str) -> None:
        """SIGSTOP until well past the lease, then SIGCONT: the worker comes back from the dead."""
        process = self.stack.processes.get(name)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGSTOP)
        self._orphaned(process.pid, kind)
        wake = time.monotonic() + self.stack.setup.lease_s * 1.5
        self._later.append((wake, lambda: process.send_signal(signal.SIGCONT)))

    def _slow(self) -> None:
        self.stack.proxy.delay_s = 0.2
        self._later.append((time.monotonic() + 5, self._fast))

    def _fast(self) -> None:
        self.stack.proxy.delay_s = 0.0

    def _stray(self) -> None:
        """Every live job's messages once more, of all stages, in any order."""
        with self.database.begin() as connection:
            rows = connection.execute(
                text("SELECT job_id, stage::text, queue FROM slice LIMIT 300")
            )
            found = [Dispatch(row.job_id, Stage(row.stage), row.queue, 2) for row in rows]
        self.chance.shuffle(found)
        app = make_app(self.stack.servers.broker_url)
        for dispatch in found:
            publish(app, dispatch)
        app.close()

    def _orphaned(self, pid: int, kind: str) -> None:
        with self.database.begin() as connection:
            rows = connection.execute(
                text(
                    "SELECT s.job_id::text, s.stage::text, s.no, s.token::text FROM slice s"
                    " JOIN job ON job.id = s.job_id WHERE job.finished_at IS NULL"
                    " AND s.state = 'claimed' AND s.owner LIKE :owner"
                ),
                {"owner": f"%-{pid}@{os.uname().nodename}"},
            ).all()
        for job, stage, no, token in rows:
            self._orphans[job, stage, no, token] = (kind, time.monotonic())

    def _watch(self) -> None:
        if not self._orphans:
            return
        try:
            with self.database.begin() as connection:
                rows = connection.execute(
                    text(
                        "SELECT s.job_id::text, s.stage::text, s.no, s.token::text FROM slice s"
                        " JOIN job ON job.id = s.job_id"
                        " WHERE s.state = 'claimed' AND job.finished_at IS NULL"
                    )
                ).all()
        except Unavailable:
            return  # Postgres recovers; an orphan is looked for again at the next step
        held = {tuple(row) for row in rows}
        for orphan in [one for one in self._orphans if one not in held]:
            kind, since = self._orphans.pop(orphan)
            self.rescues.append((kind, time.monotonic() - since))


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank; 0 where there is nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
