"""Batches that are committed late, and which token each was committed under.

A stopped process hardly ever comes back to its slice: the batch that its device has passes its
deadline meanwhile, and the watchdog ends it. What fencing is there for is a thread that alone is
late, its batch computed, in a process that lives.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from repick.jobs import Slice

LATE = "late commit"
"""The fault: whoever commits next waits until its slice is another's."""
_ASKED = "late"
_OVERLAP = "overlap-"
_CREATE = (
    "CREATE TABLE chaos_commit (held uuid NOT NULL, current uuid)",
    "GRANT INSERT ON chaos_commit TO PUBLIC",
)
# The batch has locked the slice by then, so this token is that of its commit.
_RECORD = text(
    "INSERT INTO chaos_commit SELECT CAST(:held AS uuid), token FROM slice"
    " WHERE job_id = :job AND stage = :stage AND no = :no"
)
_TOKEN = text(
    "SELECT token FROM slice JOIN job ON job.id = job_id WHERE job_id = :job AND stage = :stage"
    " AND no = :no AND job.finished_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class Commit:
    """A batch that was committed."""

    held: UUID
    """The token that its worker had claimed the slice under."""
    current: UUID | None
    """The one that the slice had at the commit."""


def stale(commits: Iterable[Commit]) -> int:
    """How many were committed by a worker whose slice was another's by then, or nobody's."""
    return sum(one.held != one.current for one in commits)


def create(connection: Connection) -> None:
    """The harness's own table, beside the product's."""
    for statement in _CREATE:
        connection.execute(text(statement))


def recorded(connection: Connection) -> list[Commit]:
    rows = connection.execute(text("SELECT held, current FROM chaos_commit"))
    return [Commit(row.held, row.current) for row in rows]


def ask_for_late(folder: Path) -> None:
    (folder / _ASKED).touch()


def overlaps(folder: Path) -> int:
    """How often a process was late, and its slice another's before it committed."""
    return sum(1 for _ in folder.glob(f"{_OVERLAP}*"))


def watched(commit: Callable[..., None], folder: Path) -> Callable[..., None]:
    """`ledger.commit_batch`, late where that is asked for, and recorded in its transaction.

    So a record is there if and only if the batch is.
    """

    def watching(connection: Connection, held: Slice, *rest: Any, **named: Any) -> None:
        key = {"job": held.job_id, "stage": held.stage, "no": held.no}
        _be_late(connection, held.token, key, folder)
        commit(connection, held, *rest, **named)
        connection.execute(_RECORD, key | {"held": held.token})

    return watching


def _be_late(connection: Connection, held: UUID, key: dict[str, Any], folder: Path) -> None:
    """Where the harness asks for it: wait until the slice is another's, or its job has ended."""
    waiting = folder / f"waiting-{held}"
    try:
        (folder / _ASKED).rename(waiting)  # one thread alone gets it
    except FileNotFoundError:
        return
    while (current := connection.execute(_TOKEN, key).scalar()) == held:
        time.sleep(0.02)
    if current is not None:
        waiting.rename(folder / f"{_OVERLAP}{os.getpid()}-{held}")
