"""The processes that the harness breaks: real servers, API, sweep, and workers with pure models."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import redis

from benchmarks.chaos import commits
from benchmarks.chaos.proxy import Proxy
from repick import embedded
from repick.embedded import postgres, valkey
from repick.embedded.state import State
from repick.errors import Unavailable
from repick.processes import free_port, tail
from repick.store.database import Database, migrate
from repick.store.keys import create_key, ensure_tenant

FINE = ("fine-1", "fine-2", "fine-3")
WORKERS = ("coarse", *FINE)
LAST_BYTES = 4000
SKEWED = "fine-3"
"""Its wall clock is an hour ahead."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How slow the scorer is, how short the leases are, and what is broken on purpose."""

    delay_s: float = 0.01
    deadline_s: float = 4.0
    margin_s: float = 2.0
    sweep_s: float = 1.0
    batch_pairs: int = 8
    slice_pairs: int = 25
    broken: str = ""
    """`fencing`, `sweep`, or nothing."""

    @property
    def lease_s(self) -> float:
        return self.deadline_s + self.margin_s


@dataclass(frozen=True, slots=True)
class Death:
    """A process that ended though nobody here had killed it."""

    name: str
    pid: int
    code: int
    starting_without_postgres: bool
    """A worker that had not begun to serve, in whose life Postgres was stopped."""
    last: str = ""
    """The end of its log."""


@dataclass(slots=True)
class Stack:
    folder: Path
    setup: Setup
    servers: embedded.Servers
    proxy: Proxy
    """On everybody's way to the broker."""
    postgres_proxy: Proxy
    """On the workers' way to Postgres."""
    key: str
    api_port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    deaths: list[Death] = field(default_factory=list)
    held_back: set[str] = field(default_factory=set)
    """Not to be started again for now."""
    _begun: dict[int, tuple[float, int]] = field(default_factory=dict)
    """When each process was started, and how long its log was then, by pid."""
    _postgres_stopped: float = float("-inf")

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def names(self) -> tuple[str, ...]:
        return ("api", *WORKERS, *(() if self.setup.broken == "sweep" else ("sweep",)))

    def start(self, name: str) -> None:
        role = name.split("-")[0]
        module = {"api": ["api"], "sweep": ["repick.sweep"]}
        arguments = module.get(role, ["benchmarks.chaos.worker", role])
        self.launch(name, [sys.executable, "-m", *arguments], self._variables(name))

    def launch(self, name: str, command: list[str], variables: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            before = log.tell()
            self.processes[name] = process = subprocess.Popen(
                command,
                env={**os.environ, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._begun[process.pid] = (time.monotonic(), before)

    def kill(self, name: str) -> int:
        """kill -9; gives the pid that it had."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        return process.pid

    def revive(self) -> None:
        """Start again whatever has ended, as a supervisor does, and note what ended by itself."""
        self.note_deaths()
        for name in self.names:
            if name not in self.processes and name not in self.held_back:
                self.start(name)

    def note_deaths(self) -> None:
        for name, process in list(self.processes.items()):
            if (code := process.poll()) is None:
                continue
            del self.processes[name]
            begun, before = self._begun[process.pid]
            log = (self.folder / f"{name}.log").read_bytes()[before:]
            starting = name in WORKERS and b"serving" not in log
            without = starting and self._postgres_stopped > begun
            last = log[-LAST_BYTES:].decode(errors="replace")
            self.deaths.append(Death(name, process.pid, code, without, last))

    def restart_broker(self) -> None:
        """Valkey keeps nothing: a restart is a wipe, and its clients lose their connections."""
        folder = self.folder / "valkey"
        valkey.stop(folder)
        embedded.start(self.folder)

    def flush_broker(self) -> None:
        with redis.Redis.from_url(self.servers.broker_url) as client:
            client.flushall()

    def waiting_messages(self, prefix: str) -> int:
        """How many wait in the queues whose names begin so."""
        with redis.Redis.from_url(self.servers.broker_url) as client:
            return sum(int(client.llen(key)) for key in client.keys(f"{prefix}*"))

    def stop_postgres_at_once(self) -> None:
        """An immediate shutdown, without a checkpoint, and a start with recovery."""
        state = State.load(self.folder)
        assert state is not None
        cluster = postgres.locate(self.folder, state.cluster_key)
        cluster.run("pg_ctl", "stop", "-D", str(cluster.data), "-m", "immediate", "-w")
        embedded.start(self.folder)
        self._postgres_stopped = time.monotonic()

    def ready(self) -> bool:
        serving = all("serving" in tail(self.folder / f"{one}.log", 10_000) for one in WORKERS)
        try:
            return serving and httpx.get(f"{self.api_url}/readyz", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def wait_serving(self, name: str, within_s: float = 240) -> None:
        """Until this start of a worker serves. Raises Unavailable."""
        _, before = self._begun[self.processes[name].pid]
        deadline = time.monotonic() + within_s
        while b"serving" not in (self.folder / f"{name}.log").read_bytes()[before:]:
            if time.monotonic() > deadline:
                raise Unavailable(f"{name} does not serve after {within_s:g} s")
            time.sleep(0.05)

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _variables(self, name: str) -> dict[str, str]:
        setup, database = self.setup, self.servers.database_url
        return {
            "REPICK_DATABASE_URL": (
                _through(self.postgres_proxy, database) if name in WORKERS else database
            ),
            "REPICK_BROKER_URL": _through(self.proxy, self.servers.broker_url),
            "REPICK_DATA_DIR": str(self.folder),
            "REPICK_SECRET": "chaos",
            "REPICK_API_PORT": str(self.api_port),
            "REPICK_BATCH_DEADLINE_S": str(setup.deadline_s),
            "REPICK_LEASE_MARGIN_S": str(setup.margin_s),
            "REPICK_SWEEP_INTERVAL_S": str(setup.sweep_s),
            "REPICK_BATCH_PAIRS": str(setup.batch_pairs),
            "REPICK_SLICE_PAIRS": str(setup.slice_pairs),
            "OMP_NUM_THREADS": "1",
            "CHAOS_LOG": str(self.folder),
            "CHAOS_DELAY_S": str(setup.delay_s),
            "CHAOS_CLOCK_S": "3600" if name == SKEWED else "0",
            "CHAOS_BREAK": setup.broken,
        }


@contextmanager
def running(setup: Setup) -> Iterator[Stack]:
    """Every process up and serving; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="repick-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, Postgres runs as another user
        servers = embedded.start(folder)
        try:
            with _before(servers.broker_url) as broker, _before(servers.database_url) as database:
                stack = Stack(folder, setup, servers, broker, database, _prepared(servers))
                try:
                    stack.revive()
                    wait_ready(stack)
                    yield stack
                finally:
                    stack.stop()
        finally:
            embedded.remove(folder)


def wait_ready(stack: Stack, within_s: float = 240) -> None:
    deadline = time.monotonic() + within_s
    while not stack.ready():
        if time.monotonic() > deadline:
            logs = "\n".join(tail(stack.folder / f"{one}.log") for one in stack.names)
            raise Unavailable(f"not ready after {within_s:g} s:\n{logs}")
        time.sleep(0.1)


def _before(url: str) -> Proxy:
    return Proxy(urlsplit(url).port or 0)


def _through(proxy: Proxy, url: str) -> str:
    return url.replace(f":{urlsplit(url).port}/", f":{proxy.port}/")


def tenant_key(servers: embedded.Servers, tenant: str) -> str:
    """A new key of a tenant, which is made where it is not there."""
    database = Database(servers.database_url)
    with database.begin() as connection:
        key = create_key(connection, ensure_tenant(connection, tenant), tenant)
    database.close()
    return key


def _prepared(servers: embedded.Servers) -> str:
    migrate(servers.database_url)
    database = Database(servers.database_url)
    with database.begin() as connection:
        commits.create(connection)
    database.close()
    return tenant_key(servers, "chaos")
