"""The service as processes, each started again a second after it died, and faults done to them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import redis
from sqlalchemy import text

from benchmarks.chaos import worker
from benchmarks.chaos.plan import Fault
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.rescue import Rescues
from repick import embedded
from repick.embedded import postgres, valkey
from repick.embedded.state import State
from repick.errors import Unavailable
from repick.jobs import Stage
from repick.queue import make_app, publish
from repick.settings import Settings
from repick.store.database import Database
from repick.store.slices import Dispatch

RESTART_S = 1.0
FINE = ("fine-1", "fine-2", "fine-3")
COMMANDS = {
    "api": ["api"],
    "coarse": ["benchmarks.chaos.worker", "coarse"],
    **{name: ["benchmarks.chaos.worker", "fine"] for name in FINE},
    "sweep": ["repick.sweep"],
}
_LIVE = text(
    "SELECT DISTINCT s.job_id, s.stage::text AS stage, s.queue FROM slice s"
    " JOIN job ON job.id = s.job_id WHERE job.finished_at IS NULL"
)


@dataclass(slots=True)
class Stack:
    """`done` has the faults as they happened, with what was needed to see each through."""

    folder: Path
    settings: Settings
    broker_url: str
    """The broker's own address; the processes are given the proxy's."""
    proxy: Proxy
    database: Database
    rescues: Rescues
    environment: dict[str, str]
    names: tuple[str, ...] = tuple(COMMANDS)
    silence_s: float = 10.0
    done: list[Fault] = field(default_factory=list)
    exits: list[float] = field(default_factory=list)
    """Seconds from SIGTERM to the end of a process, and its code must be 0."""
    bad_exits: list[int] = field(default_factory=list)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _spared: set[str] = field(default_factory=set)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _side: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for name in self.names:
            self._start(name)

    def keep(self) -> None:
        """Start again what died, until stopped: what a service manager does."""
        while not self._stopping.wait(RESTART_S):
            for name, process in list(self._processes.items()):
                if name not in self._spared and process.poll() is not None:
                    self._start(name)

    def _start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *COMMANDS[name]],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def inflict(self, fault: Fault, rng: random.Random, lease_s: float) -> None:
        """Do it; what takes time goes on beside."""
        self.done.append(fault)
        fine = rng.choice(FINE)
        acts: dict[Fault, Callable[[], None]] = {
            Fault.KILL_FINE: partial(self._kill, fine),
            Fault.KILL_COARSE: partial(self._kill, "coarse"),
            Fault.KILL_API: partial(self._kill, "api"),
            Fault.KILL_SWEEP: partial(self._kill, "sweep"),
            Fault.STALL: partial(self._beside, partial(self._stall, fine, lease_s)),
            Fault.TERMINATE: partial(self._beside, partial(self._terminate, fine)),
            Fault.RESTART_BROKER: self._restart_broker,
            Fault.FLUSH: self._flush,
            Fault.SILENCE: partial(self._beside, self._silence),
            Fault.STOP_DATABASE: self._stop_database,
            Fault.DUPLICATE: partial(self._duplicate, rng),
        }
        acts[fault]()

    def _beside(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._side.append(thread)
        thread.start()

    def settle(self) -> None:
        """Wait for the faults that take time."""
        for thread in self._side:
            thread.join()

    def _kill(self, name: str) -> None:
        process = self._processes.get(name)
        if process and process.poll() is None:
            process.kill()
            process.wait()
            self.rescues.lost(process.pid)

    def _stall(self, name: str, lease_s: float) -> None:
        process = self._processes[name]
        if process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            self.rescues.lost(process.pid)
            time.sleep(1.4 * lease_s)
            process.send_signal(signal.SIGCONT)

    def _terminate(self, name: str) -> None:
        """What a deploy does: the worker ends what it has begun, and exits by itself."""
        process = self._processes[name]
        self._spared.add(name)
        process.terminate()
        started = time.monotonic()
        try:
            code = process.wait(45)
            self.exits.append(time.monotonic() - started)
            if code != 0 and code != -signal.SIGKILL:  # another fault may have killed it meanwhile
                self.bad_exits.append(code)
        except subprocess.TimeoutExpired:
            self.bad_exits.append(-signal.SIGTERM)
            process.kill()
            process.wait()
        self._start(name)
        self._spared.discard(name)

    def _restart_broker(self) -> None:
        valkey.stop(self.folder / "valkey")
        embedded.start(self.folder)

    def _flush(self) -> None:
        with redis.Redis.from_url(self.broker_url) as broker:
            broker.flushall()

    def _silence(self) -> None:
        self.proxy.silence()
        time.sleep(self.silence_s)
        self.proxy.resume()

    def _stop_database(self) -> None:
        state = State.load(self.folder)
        assert state is not None
        cluster = postgres.locate(self.folder, state.cluster_key)
        cluster.run("pg_ctl", "stop", "-D", str(cluster.data), "-m", "immediate", "-w")
        embedded.start(self.folder)

    def _duplicate(self, rng: random.Random) -> None:
        app = make_app(self.broker_url)
        try:
            with self.database.read() as connection:
                live = list(connection.execute(_LIVE))
        except Unavailable:
            return
        rng.shuffle(live)
        for row in live:
            publish(app, Dispatch(row.job_id, Stage(row.stage), row.queue, 2))
        app.close()

    def leave(self) -> None:
        """No longer start again what died."""
        self._stopping.set()

    def stop(self) -> None:
        self.leave()
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def through(url: str, port: int) -> str:
    """The same address at another port."""
    parts = urlsplit(url)
    at = f"{parts.netloc.rsplit('@', 1)[0]}@127.0.0.1:{port}"
    return urlunsplit(parts._replace(netloc=at))


def environment(folder: Path, settings: Settings, pair_ms: float, without: str) -> dict[str, str]:
    return {
        "REPICK_DATABASE_URL": settings.database_url,
        "REPICK_BROKER_URL": settings.broker_url,
        "REPICK_DATA_DIR": str(folder),
        "REPICK_API_PORT": str(settings.api_port),
        "REPICK_SECRET": "chaos",
        "REPICK_BATCH_DEADLINE_S": str(settings.batch_deadline_s),
        "REPICK_LEASE_MARGIN_S": str(settings.lease_margin_s),
        "REPICK_SLICE_PAIRS": str(settings.slice_pairs),
        "REPICK_BATCH_PAIRS": str(settings.batch_pairs),
        "OMP_NUM_THREADS": "1",
        worker.PAIR_MS: str(pair_ms),
        worker.CALLS: str(folder / "calls.tsv"),
        worker.WITHOUT: without,
    }
