"""Slices: claimed under a token and a lease, finished once, published again until claimed.

A slice is locked before its job, always, so that no two transactions wait for each other in a
circle. The database's clock decides what has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text

from repick.errors import Conflict
from repick.jobs import MAX_ATTEMPTS, JobState, Slice, SliceState, Stage

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
          AND job.finished_at IS NULL AND coalesce(job.not_before <= now(), true)
          AND (CAST(:models AS bigint[]) IS NULL
               OR CASE s.stage WHEN 'retrieve' THEN job.encoder_id ELSE job.scorer_id END
                  = ANY(:models))
        ORDER BY s.no LIMIT 1 FOR UPDATE OF s SKIP LOCKED
    )
    RETURNING job_id, tenant_id, stage, no, first, last, token, attempts,
        (SELECT trace FROM job WHERE job.id = slice.job_id) AS trace,
        (SELECT state FROM job WHERE job.id = slice.job_id) AS job_state
    """
)


def claim(
    connection: Connection,
    job_id: UUID,
    stage: Stage,
    owner: str,
    lease: timedelta,
    models: Sequence[int] | None = None,
) -> Slice | None:
    """Take one free slice of the job's stage; None means that there is nothing to do.

    `models` are the encoders or scorers that the worker serves, by id: a job of another one is
    left to whoever serves it. None for a stage that needs no model.
    """
    row = connection.execute(
        _CLAIM,
        {
            "job": job_id,
            "stage": stage,
            "token": uuid4(),
            "owner": owner,
            "lease": lease,
            "attempts": MAX_ATTEMPTS,
            "models": None if models is None else list(models),
        },
    ).first()
    if row is None:
        return None
    if row.job_state == JobState.QUEUED:
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


def hold(connection: Connection, held: Slice, lease: timedelta) -> None:
    """Hold the slice for another lease while its batch waits in line. Raises LeaseLost."""
    statement = text(
        "UPDATE slice SET lease_until = now() + :lease, publish_at = now() + :lease"
        " WHERE job_id = :job AND stage = :stage AND no = :no AND token = :token"
    )
    if connection.execute(statement, _key(held) | {"lease": lease}).rowcount != 1:
        raise LeaseLost("the slice was claimed by another worker", job_id=held.job_id)


def release(connection: Connection, held: Slice, error_code: str | None = None) -> bool:
    """Give a slice back: to be taken at once when yielding, or again later after an error.

    The third error in a row ends it: True says that it failed and must be counted down.
    """
    if error_code is None:
        connection.execute(_YIELD, _key(held))
        return False
    bind = {"code": error_code, "most": MAX_ATTEMPTS}
    state = connection.execute(_GIVE_UP, _key(held) | bind).scalar()
    return state == SliceState.FAILED


def postpone(connection: Connection, held: Slice, after: timedelta) -> bool:
    """Give a slice back because a server is away, which is no fault of it: no attempt is counted.

    False where it is somebody else's by now.
    """
    statement = text(
        "UPDATE slice SET state = 'waiting', token = NULL, lease_until = NULL,"
        " attempts = greatest(attempts - 1, 0), publish_at = now() + :after"
        " WHERE job_id = :job AND stage = :stage AND no = :no AND token = :token"
    )
    return connection.execute(statement, _key(held) | {"after": after}).rowcount == 1


_YIELD = text(
    "UPDATE slice SET state = 'waiting', token = NULL, lease_until = NULL, attempts = 0,"
    " publish_at = now() WHERE job_id = :job AND stage = :stage AND no = :no AND token = :token"
)

# Attempts are the row's own: a committed batch has set them back since the claim.
_GIVE_UP = text(
    """
    UPDATE slice SET token = NULL, lease_until = NULL, error_code = :code,
        state = CAST(CASE WHEN attempts >= :most THEN 'failed' ELSE 'waiting' END AS slice_state),
        publish_at = now() + 2 ^ attempts * interval '1 second'
    WHERE job_id = :job AND stage = :stage AND no = :no AND token = :token
    RETURNING state::text
    """
)


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


def lost(connection: Connection) -> Slice | None:
    """Fail one slice that three workers in a row died over; it must then be counted down."""
    row = connection.execute(
        text(
            "UPDATE slice SET state = 'failed', error_code = 'worker_lost', token = NULL,"
            " lease_until = NULL WHERE (job_id, stage, no) IN ("
            " SELECT s.job_id, s.stage, s.no FROM slice s JOIN job ON job.id = s.job_id"
            " WHERE s.state = 'claimed' AND s.lease_until < now() AND s.attempts >= :attempts"
            " AND job.finished_at IS NULL LIMIT 1 FOR UPDATE OF s SKIP LOCKED)"
            " RETURNING job_id, tenant_id, stage, no, first, last, token, attempts,"
            " (SELECT trace FROM job WHERE job.id = slice.job_id) AS trace"
        ),
        {"attempts": MAX_ATTEMPTS},
    ).first()
    return _slice(row) if row else None


_DUE = text(
    """
    UPDATE slice s SET publishes = least(s.publishes + 1, 20),
        publish_at = now() + least(:after * (2 ^ s.publishes), :most)
    FROM (
        SELECT s.job_id, s.stage, s.no FROM slice s JOIN job ON job.id = s.job_id
        WHERE s.state IN ('waiting', 'claimed') AND job.finished_at IS NULL
          AND coalesce(job.not_before <= now(), true)
          AND (s.publish_at <= now() OR s.state = 'waiting' AND s.queue = ANY(:empty))
        ORDER BY s.queue = ANY(:empty) DESC, s.publish_at LIMIT :limit FOR UPDATE OF s SKIP LOCKED
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


def queues_waited_for(connection: Connection) -> dict[str, int]:
    """How many slices of live jobs nobody has, by queue."""
    rows = connection.execute(
        text(
            "SELECT s.queue, count(*) AS n FROM slice s JOIN job ON job.id = s.job_id"
            " WHERE job.finished_at IS NULL AND coalesce(job.not_before <= now(), true)"
            " AND (s.state = 'waiting' OR (s.state = 'claimed' AND s.lease_until < now()))"
            " GROUP BY s.queue"
        )
    )
    return {row.queue: int(row.n) for row in rows}


def _key(held: Slice) -> dict[str, Any]:
    return {"job": held.job_id, "stage": held.stage, "no": held.no, "token": held.token}


def _slice(row: Row[Any]) -> Slice:
    """In the order of RETURNING, which begins with the fields in theirs."""
    head, rest = (row.job_id, row.tenant_id, Stage(row.stage)), tuple(row)[3 : len(fields(Slice))]
    return Slice(*head, *rest)
