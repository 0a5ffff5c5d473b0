"""The faults: what each does, and who had what when it struck."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import text

from benchmarks.chaos.commits import LATE, ask_for_late
from benchmarks.chaos.function import poisoned
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.stack import FINE, Death, Stack
from repick.errors import Unavailable
from repick.jobs import Stage
from repick.queue import make_app, publish
from repick.store.database import Database
from repick.store.slices import Dispatch
from worker.device import EXIT_DEADLINE

Held = tuple[str, str, int, str]
"""A slice as its worker held it: job, stage, number, owner."""
SLOW_S = 5.0
"""How long the way to a server stays slow."""
LOSS_S = 15.0
"""How long a loss of messages waits for one to lose."""


@dataclass(slots=True)
class Injector:
    """Injects faults, revives what died, and times how long orphaned slices waited."""

    stack: Stack
    database: Database
    chance: random.Random
    killed: dict[int, float] = field(default_factory=dict)
    """The pids of fine workers that were killed, and when by the monotonic clock."""
    stalled: set[int] = field(default_factory=set)
    injected: list[str] = field(default_factory=list)
    rescues: list[tuple[str, float]] = field(default_factory=list)
    """Each orphaned slice's fault, and the seconds until it was another's or done."""
    _orphans: dict[Held, tuple[str, float]] = field(default_factory=dict)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _stalls: list[tuple[float, list[Held], subprocess.Popen[bytes]]] = field(default_factory=list)
    _losing_until: float | None = None

    def inject(self, kind: str) -> None:
        action, _, target = kind.partition(" ")
        self.injected.append(kind)
        if action in ("kill", "stall"):
            name = self._busy() if target == "fine" else target
            (self._kill if action == "kill" else self._stall)(name, kind)
            return
        actions: Mapping[str, Callable[[], None]] = {
            "restart broker": self.stack.restart_broker,
            "reset broker": self.stack.proxy.reset,
            "lose messages": self._begin_loss,
            "wipe broker": self.stack.flush_broker,
            "silence broker": self.stack.proxy.silence,
            "slow broker": partial(self._slow, self.stack.proxy, (0.2, 0.2)),
            "slow postgres": partial(self._slow, self.stack.postgres_proxy, (0.05, 0.5)),
            "silence postgres": self.stack.postgres_proxy.silence,
            "reset postgres": self.stack.postgres_proxy.reset,
            "postgres immediate": self.stack.stop_postgres_at_once,
            "stray messages": self._stray,
            LATE: self._ask_for_late,
        }
        actions[kind]()

    def step(self) -> None:
        """To be called again and again: ends stalls, revives, and looks after orphans."""
        now = time.monotonic()
        due = [action for at, action in self._later if at <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        for action in due:
            action()
        self._lose()
        self.stack.revive()
        self._watch()
        self._wake()

    @property
    def quiet(self) -> bool:
        """Whether no stall is going on and no orphan waits."""
        busy = self._later or self._stalls or self._orphans or self._losing_until is not None
        return not busy

    @property
    def unexplained(self) -> list[Death]:
        """Deaths that nothing here caused: by poison, by a deadline that passed in a stall."""
        dead_of_poison = poisoned(self.stack.folder)
        return [
            one
            for one in self.stack.deaths
            if not (one.code == -signal.SIGKILL and one.pid in dead_of_poison)
            and not (one.code == EXIT_DEADLINE and one.pid in self.stalled)
            and not one.starting_without_postgres
        ]

    def _busy(self) -> str:
        """A fine worker, one that holds something where there is one."""
        return self.chance.choice(self._holders() or FINE)

    def _holders(self) -> list[str]:
        """The fine workers that hold something."""
        try:
            with self.database.begin() as connection:
                owners = connection.execute(
                    text("SELECT owner FROM slice WHERE state = 'claimed' AND stage = 'score'")
                ).scalars()
                pids = {int(owner.partition("@")[0].rpartition("-")[2]) for owner in owners}
        except Unavailable:
            pids = set()
        running = {name: self.stack.processes.get(name) for name in FINE}
        return [name for name, one in running.items() if one is not None and one.pid in pids]

    def _begin_loss(self) -> None:
        """Take away who would take the messages that are to be lost; see `_lose`."""
        self.stack.held_back.add("coarse")
        self._kill("coarse", "lose messages")
        self._losing_until = time.monotonic() + LOSS_S

    def _lose(self) -> None:
        """Wipe the broker when a message waits in it that nobody can have taken."""
        if self._losing_until is None:
            return
        if self.stack.waiting_messages("coarse."):
            self.stack.flush_broker()
        elif time.monotonic() < self._losing_until:
            return
        self._losing_until = None
        self.stack.held_back.discard("coarse")

    def _kill(self, name: str, kind: str) -> None:
        process = self.stack.processes.get(name)
        if process is None or process.poll() is not None:
            return
        at, pid = time.monotonic(), self.stack.kill(name)
        if name in FINE:
            self.killed[pid] = at
        self._orphaned(pid, kind)

    def _stall(self, name: str, kind: str) -> None:
        """SIGSTOP until another has what it held, or well past the lease; then SIGCONT."""
        process = self.stack.processes.get(name)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGSTOP)
        self.stalled.add(process.pid)
        held = self._orphaned(process.pid, kind)
        self._stalls.append((time.monotonic() + self.stack.setup.lease_s * 1.5, held, process))

    def _wake(self) -> None:
        """Bring back from the dead who was stalled for long enough."""
        now, asleep = time.monotonic(), []
        for until, held, process in self._stalls:
            if now < until and not (held and not any(one in self._orphans for one in held)):
                asleep.append((until, held, process))
            else:
                process.send_signal(signal.SIGCONT)
        self._stalls = asleep

    def _slow(self, proxy: Proxy, delay_s: tuple[float, float]) -> None:
        proxy.delay_s = delay_s
        self._later.append((time.monotonic() + SLOW_S, partial(self._fast, proxy)))

    def _fast(self, proxy: Proxy) -> None:
        proxy.delay_s = (0.0, 0.0)

    def _ask_for_late(self) -> None:
        ask_for_late(self.stack.folder)

    def _stray(self) -> None:
        """Every live job's messages once more, of all stages, in any order."""
        rows = self._rows("SELECT job_id, stage::text, queue FROM slice LIMIT 300")
        found = [Dispatch(row.job_id, Stage(row.stage), row.queue, 2) for row in rows]
        self.chance.shuffle(found)
        app = make_app(self.stack.servers.broker_url)
        for dispatch in found:
            publish(app, dispatch)
        app.close()

    def _orphaned(self, pid: int, kind: str) -> list[Held]:
        rows = self._rows(
            "SELECT s.job_id::text, s.stage::text, s.no, s.owner FROM slice s"
            " JOIN job ON job.id = s.job_id WHERE job.finished_at IS NULL"
            " AND s.state = 'claimed' AND s.owner LIKE :owner",
            owner=f"%-{pid}@{os.uname().nodename}",
        )
        held: list[Held] = [(row[0], row[1], row[2], row[3]) for row in rows]
        for one in held:
            self._orphans[one] = (kind, time.monotonic())
        return held

    def _rows(self, statement: str, **bind: object) -> Sequence[Any]:
        """Asked again where Postgres went away a moment ago: a pooled connection may not know."""
        for _ in range(100):
            try:
                with self.database.begin() as connection:
                    return connection.execute(text(statement), bind).all()
            except Unavailable:
                time.sleep(0.1)
        raise Unavailable("the database did not come back")

    def _watch(self) -> None:
        if not self._orphans:
            return
        try:
            with self.database.begin() as connection:
                rows = connection.execute(
                    text(
                        "SELECT s.job_id::text, s.stage::text, s.no, s.owner FROM slice s"
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
