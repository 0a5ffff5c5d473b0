"""A real worker whose connections to the broker end: it goes on taking messages."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from repick.queue import Message, make_app, send

pytestmark = pytest.mark.acceptance

NO_ID = Message("repick.rank", "no id", "rank")
"""A message that is refused, which the worker writes down."""


@pytest.fixture
def log(tmp_path: Path, database_url: str, broker_url: str) -> Iterator[Path]:
    """The log of a worker process that runs, and is the same one at the end."""
    path = tmp_path / "worker.log"
    environment = {
        "REPICK_DATABASE_URL": database_url,
        "REPICK_BROKER_URL": broker_url,
        "REPICK_DATA_DIR": str(tmp_path),
    }
    with path.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.chaos.worker", "coarse"],
            env={**os.environ, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield path
        assert process.poll() is None, "the worker has ended"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
def test_worker_takes_messages_after_its_connections_ended(
    log: Path, broker_url: str, kind: str
) -> None:
    """`pubsub` is that of remote control alone; `normal` are all others."""
    app = make_app(broker_url)
    try:
        with redis.Redis.from_url(broker_url) as broker:
            for number in range(3):
                assert send(app, [NO_ID])
                _until_refused(log, number + 1)
                _kill(broker, kind)
    finally:
        app.close()


def _kill(broker: redis.Redis, kind: str) -> None:
    """End the connections of this kind: a worker may take a message before all are made again."""
    deadline = time.monotonic() + 60
    while not broker.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"):
        assert time.monotonic() < deadline, f"there is no {kind} connection"
        time.sleep(0.05)


def _until_refused(log: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while log.read_text().count("message refused") < count:
        assert time.monotonic() < deadline, f"deaf:\n{log.read_text()[-2000:]}"
        time.sleep(0.05)
