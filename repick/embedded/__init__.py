"""Postgres with pgvector and Valkey from wheels, kept in one data folder.

`start` initialises on first use, adopts healthy servers that already run from this folder, and
replaces dead ones. The servers outlive the process that started them: `stop` ends them.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from repick.embedded import postgres, valkey
from repick.embedded.state import State, locked

__all__ = ["Servers", "remove", "start", "stop"]


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the two servers answer; both addresses contain their passwords."""

    database_url: str
    """SQLAlchemy's form, `postgresql+psycopg://…`."""
    broker_url: str


def start(data_dir: Path, *, fast: bool = False) -> Servers:
    """Make both servers of `data_dir` answer on loopback.

    `fast` gives up durability (fsync and its like): for tests only, and only for servers that this
    call starts.

    Raises:
        Unavailable: the wheels are not installed, or a server does not start; its last log lines
            are in the message.
    """
    with locked(data_dir) as folder:
        state = State.load(folder) or State.create(folder)
        cluster = postgres.locate(folder, state.cluster_key)
        database_port = postgres.start(cluster, state, fast=fast)
        broker_port = valkey.start(folder / "valkey", state)
        replace(state, database_port=database_port, broker_port=broker_port).save(folder)
    user, host = postgres.USER, "127.0.0.1"
    return Servers(
        f"postgresql+psycopg://{user}:{state.database_password}@{host}:{database_port}/{user}",
        f"redis://:{state.broker_password}@{host}:{broker_port}/0",
    )


def stop(data_dir: Path) -> None:
    """End both servers of `data_dir` cleanly; nothing happens where none runs.

    Raises:
        Unavailable: Postgres did not stop.
    """
    if not data_dir.is_dir():
        return
    with locked(data_dir) as folder:
        state = State.load(folder)
        if state is not None:
            valkey.stop(folder / "valkey")
            postgres.stop(postgres.locate(folder, state.cluster_key))


def remove(data_dir: Path) -> None:
    """Stop both servers and delete all their data."""
    stop(data_dir)
    if not data_dir.is_dir():
        return
    with locked(data_dir) as folder:
        state = State.load(folder)
        if state is not None:
            shutil.rmtree(postgres.locate(folder, state.cluster_key).home, ignore_errors=True)
            shutil.rmtree(folder / "valkey", ignore_errors=True)
            State.delete(folder)
