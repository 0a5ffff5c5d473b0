"""Slices: claimed under a token and a lease, finished once, published again until claimed.

A slice is locked before its job, always, so that no two transactions wait for each other in a
circle. The database's clock decides what has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text

from repick.errors import Conflict
from repick.jobs import MAX_ATTEMPTS, JobState, Slice, Stage

REPUBLISH_AFTER = timedelta(seconds=10)
REPUBLISH_AT_MOST = timedelta(minutes=10)


class LeaseLost(Conflict):
    """The slice is somebody else's by now; nothing was changed."""

    code = "lease_lost"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """`count` messages to publish after the commit, each carrying only the job's id."""

    job_id: UUID
    stage: Stage
    queue: str
    count: int


_CLAIM = text(
    """
    UPDATE slice SET state = 'claimed', token = :token, owner = :owner, attempts = attempts + 1,
        lease_until = now() + :lease, publish_at = now() + :lease, publishes = 0
    WHERE (job_id, stage, no) = (
        SELECT s.job_id, s.stage, s.no FROM slice s JOIN job ON job.id = s.job_id
        WHERE s.job_id = :job AND s.stage = :stage AND s.attempts < :attempts
          AND (s.state = 'waiting' OR (s.state = 'claimed' AND s.lease_until < now()))
          AND job.finished_at IS NULL
        ORDER BY s.no LIMIT 1 FOR UPDATE OF s SKIP LOCKED
    )
    RETURNING job_id, tenant_id, stage, no, first, last, token, attempts,
        (SELECT trace FROM job WHERE job.id = slice.job_id) AS trace
    """
)


def claim(
    connection: Connection, job_id: UUID, stage: Stage, owner: str, lease: timedelta
) -> Slice | None:
    """Take one free slice of the job's stage; None means that there is nothing to do."""
    row = connection.execute(
        _CLAIM,
        {
            "job": job_id,
            "stage": stage,
            "token": uuid4(),
            "owner": owner,
            "lease": lease,
            "attempts": MAX_ATTEMPTS,
        },
    ).first()
    if row is None:
        return None
    connection.execute(
        text(
            "UPDATE job SET state = CAST(:state AS job_state), started_at = now()"
            " WHERE id = :id AND state = 'queued'"
        ),
        {"id": job_id, "state": stage.state},
    )
    return _slice(row)


def renew(connection: Connection, held: Slice, lease: timedelta, pairs: int = 0) -> None:
    """Hold the slice for another lease because a batch is being committed. Raises LeaseLost."""
    statement = text(
        "UPDATE slice SET lease_until = now() + :lease, publish_at = now() + :lease, attempts = 0,"
        " pairs_done = pairs_done + :pairs"
        " WHERE job_id = :job AND stage = :stage AND no = :no AND token = :token"
    )
    bind = _key(held) | {"lease": lease, "pairs": pairs}
    if connection.execute(statement, bind).rowcount != 1:
        raise LeaseLost("the slice was claimed by another worker", job_id=held.job_id)


def release(connection: Connection, held: Slice, error_code: str | None = None) -> bool:
    """Give a slice back: to be taken at once when yielding, or again later after an error.

    The third error in a row ends it: True says that it failed and must be counted down.
    """
    ended = error_code is not None and held.attempts >= MAX_ATTEMPTS
    statement = text(
        "UPDATE slice SET state = CAST(:state AS slice_state), token = NULL, lease_until = NULL,"
        " error_code = :code, publish_at = now() + :after,"
        " attempts = CASE WHEN CAST(:code AS text) IS NULL THEN 0 ELSE attempts END"
        " WHERE job_id = :job AND stage = :stage AND no = :no AND token = :token"
    )
    bind = {
        "state": "failed" if ended else "waiting",
        "code": error_code,
        "after": timedelta(0) if error_code is None else timedelta(seconds=2**held.attempts),
    }
    return connection.execute(statement, _key(held) | bind).rowcount == 1 and ended


def finish(connection: Connection, held: Slice) -> None:
    """Mark a held slice as done. Raises LeaseLost."""
    statement = text(
        "UPDATE slice SET state = 'done', token = NULL, lease_until = NULL, error_code = NULL"
        " WHERE job_id = :job AND stage = :stage AND no = :no AND token = :token"
    )
    if connection.execute(statement, _key(held)).rowcount != 1:
        raise LeaseLost("the slice was claimed by another worker", job_id=held.job_id)


def count_down(connection: Connection, job_id: UUID, state: JobState) -> int | None:
    """One slice of the job's current stage has ended; give how many are left.

    None where the job has left that state (it was cancelled), and then nothing is counted.
    Holds the job's row until the transaction ends.
    """
    left = connection.execute(
        text(
            "UPDATE job SET slices_left = slices_left - 1 WHERE id = :id"
            " AND state = CAST(:state AS job_state) RETURNING slices_left"
        ),
        {"id": job_id, "state": state},
    ).scalar()
    return None if left is None else int(left)


def lost(connection: Connection, limit: int = 100) -> list[Slice]:
    """Fail the slices that three workers in a row died over; each must then be counted down."""
    rows = connection.execute(
        text(
            "UPDATE slice SET state = 'failed', error_code = 'worker_lost', token = NULL,"
            " lease_until = NULL WHERE (job_id, stage, no) IN ("
            " SELECT s.job_id, s.stage, s.no FROM slice s JOIN job ON job.id = s.job_id"
            " WHERE s.state = 'claimed' AND s.lease_until < now() AND s.attempts >= :attempts"
            " AND s.publish_at <= now() AND job.finished_at IS NULL"
            " LIMIT :limit FOR UPDATE OF s SKIP LOCKED)"
            " RETURNING job_id, tenant_id, stage, no, first, last, token, attempts,"
            " (SELECT trace FROM job WHERE job.id = slice.job_id) AS trace"
        ),
        {"attempts": MAX_ATTEMPTS, "limit": limit},
    )
    return [_slice(row) for row in rows]


_DUE = text(
    """
    UPDATE slice s SET publishes = least(s.publishes + 1, 20),
        publish_at = now() + least(:after * (2 ^ s.publishes), :most)
    FROM (
        SELECT s.job_id, s.stage, s.no FROM slice s JOIN job ON job.id = s.job_id
        WHERE s.state IN ('waiting', 'claimed') AND job.finished_at IS NULL
          AND (s.publish_at <= now() OR s.state = 'waiting' AND s.queue = ANY(:empty))
        ORDER BY s.publish_at LIMIT :limit FOR UPDATE OF s SKIP LOCKED
    ) due
    WHERE (s.job_id, s.stage, s.no) = (due.job_id, due.stage, due.no)
    RETURNING s.job_id, s.stage, s.queue
    """
)


def due(connection: Connection, empty_queues: Sequence[str], limit: int = 500) -> list[Dispatch]:
    """Slices to publish again: waiting past their time, expired, or waiting on an empty queue.

    Each one's next time doubles, so that an overload is not made worse.
    """
    rows = connection.execute(
        _DUE,
        {
            "after": REPUBLISH_AFTER,
            "most": REPUBLISH_AT_MOST,
            "empty": list(empty_queues),
            "limit": limit,
        },
    )
    return [Dispatch(row.job_id, Stage(row.stage), row.queue, 1) for row in rows]


def queues_waited_for(connection: Connection) -> list[str]:
    """The queues on which live jobs have waiting slices."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT s.queue FROM slice s JOIN job ON job.id = s.job_id"
            " WHERE s.state = 'waiting' AND job.finished_at IS NULL"
        )
    )
    return [row.queue for row in rows]


def _key(held: Slice) -> dict[str, Any]:
    return {"job": held.job_id, "stage": held.stage, "no": held.no, "token": held.token}


def _slice(row: Row[Any]) -> Slice:
    return Slice(
        row.job_id,
        row.tenant_id,
        Stage(row.stage),
        row.no,
        row.first,
        row.last,
        row.token,
        row.attempts,
        row.trace,
    )
