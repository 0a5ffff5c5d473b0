"""The processes of benchmarks/service.py: API, free workers and sweep, on embedded servers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from repick import embedded
from repick.errors import Unavailable
from repick.processes import free_port, tail
from repick.settings import Settings
from repick.stack.services import WORKERS_NICENESS
from repick.stack.supervisor import child_command
from repick.store.database import Database, migrate
from repick.store.keys import create_key, ensure_tenant

COMMANDS = {
    "api": ["api"],
    "coarse": ["benchmarks.fake_worker", "coarse"],
    "fine": ["benchmarks.fake_worker", "fine"],
    "sweep": ["repick.sweep"],
}
READY_S = 240


@dataclass(frozen=True, slots=True)
class Stack:
    settings: Settings
    key: str
    tenant_id: int


@contextmanager
def running(profile: Path | None = None) -> Iterator[Stack]:
    """A durable Postgres (fsync on), a broker, and every process of the service.

    `profile` takes a cProfile of each process, for looking at where the time goes.
    """
    with tempfile.TemporaryDirectory(prefix="repick-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, Postgres runs as another user
        servers = embedded.start(folder)
        try:
            stack = _prepared(folder, servers)
            with _processes(stack, folder, profile):
                yield stack
        finally:
            embedded.remove(folder)


def _prepared(folder: Path, servers: embedded.Servers) -> Stack:
    migrate(servers.database_url)
    database = Database(servers.database_url)
    with database.begin() as connection:
        tenant_id = ensure_tenant(connection, "benchmark")
        key = create_key(connection, tenant_id, "benchmark")
    database.close()
    settings = Settings(
        database_url=servers.database_url,
        broker_url=servers.broker_url,
        data_dir=folder,
        api_port=free_port(),
    )
    return Stack(settings, key, tenant_id)


@contextmanager
def _processes(stack: Stack, folder: Path, profile: Path | None) -> Iterator[None]:
    started = {name: _start(name, stack, folder, profile) for name in COMMANDS}
    try:
        _wait(started, stack, folder)
        yield
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(name: str, stack: Stack, folder: Path, profile: Path | None) -> subprocess.Popen[bytes]:
    settings = stack.settings
    variables = {
        "REPICK_DATABASE_URL": settings.database_url,
        "REPICK_BROKER_URL": settings.broker_url,
        "REPICK_DATA_DIR": str(folder),
        "REPICK_API_PORT": str(settings.api_port),
        "OMP_NUM_THREADS": "1",
    }
    watched = ["-m", "cProfile", "-o", str(profile / f"{name}.prof")] if profile else []
    command = [sys.executable, *watched, "-m", *COMMANDS[name]]
    niceness = WORKERS_NICENESS if name in {"coarse", "fine"} else 0
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            child_command(command, niceness),
            env={**os.environ, **variables},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait(started: dict[str, subprocess.Popen[bytes]], stack: Stack, folder: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not _ready(stack, folder):
        for name, process in started.items():
            if process.poll() is not None:
                raise Unavailable(f"{name} ended:\n{tail(folder / f'{name}.log')}")
        if time.monotonic() > deadline:
            raise Unavailable(f"not ready after {READY_S:g} s:\n{tail(folder / 'fine.log')}")
        time.sleep(0.1)


def _ready(stack: Stack, folder: Path) -> bool:
    workers = all("serving" in tail(folder / f"{role}.log") for role in ("coarse", "fine"))
    try:
        url = f"http://127.0.0.1:{stack.settings.api_port}/readyz"
        return workers and httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False
