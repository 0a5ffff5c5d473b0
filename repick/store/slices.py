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

PATIENCE = "30min"
"""For what is done once a job, with all of its pairs: of 5 M that takes minutes."""
ROOM = "128MB"
"""Memory for the same, to sort and join so many pairs; a small job takes no more than it needs.
One of many queries is also planned for what it has, whatever a worker's connection says."""


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


_FREE = """
    job.id = :job AND s.job_id = :job AND s.stage = :stage
    AND (s.state = 'waiting' OR (s.state = 'claimed' AND s.lease_until < now()))
    AND job.finished_at IS NULL AND coalesce(job.not_before <= now(), true)
    AND (CAST(:models AS bigint[]) IS NULL
         OR CASE s.stage WHEN 'retrieve' THEN job.encoder_id ELSE job.scorer_id END = ANY(:models))
"""
# The id itself everywhere, not through a join: it says which week's partitions are looked at.
_CLAIM = text(
    f"""
    WITH held AS (
        UPDATE slice SET state = 'claimed', token = :token, owner = :owner, attempts = attempts + 1,
            lease_until = now() + :lease, publish_at = now() + :lease, publishes = 0
        WHERE job_id = :job AND stage = :stage AND no = (
            SELECT s.no FROM slice s CROSS JOIN job
            WHERE {_FREE} AND s.attempts BETWEEN :least AND :most
            ORDER BY s.no LIMIT 1 FOR UPDATE OF s SKIP LOCKED
        )
        RETURNING job_id, tenant_id, stage, no, first, last, token, attempts
    ), started AS (
        UPDATE job SET state = CAST(:state AS job_state), started_at = now()
        WHERE id = :job AND state = 'queued' AND EXISTS (SELECT FROM held)
    )
    SELECT held.*, job.trace FROM held CROSS JOIN job WHERE job.id = :job
    """
)


def claim(
    connection: Connection,
    job_id: UUID,
    stage: Stage,
    owner: str,
    lease: timedelta,
    models: Sequence[int] | None = None,
    *,
    tried: bool = False,
) -> Slice | None:
    """Take one free slice of the job's stage; None means that there is nothing to do.

    One statement, which needs no transaction around it: a queued job begins with it.
    `models` are the encoders or scorers that the worker serves, by id: a job of another one is
    left to whoever serves it. None for a stage that needs no model. `tried` takes one whose last
    claim committed nothing, and it alone: its process must hold nothing else until it has ended.
    """
    row = connection.execute(
        _CLAIM,
        {
            "job": job_id,
            "stage": stage,
            "state": stage.state,
            "token": uuid4(),
            "owner": owner,
            "lease": lease,
            "models": None if models is None else list(models),
            "least": 1 if tried else 0,
            "most": MAX_ATTEMPTS - 1 if tried else 0,
        },
    ).first()
    return _slice(row) if row else None


def tried(
    connection: Connection, job_id: UUID, stage: Stage, models: Sequence[int] | None = None
) -> bool:
    """Whether `claim` would find a slice that was tried before."""
    bind = {
        "job": job_id,
        "stage": stage,
        "models": None if models is None else list(models),
        "most": MAX_ATTEMPTS - 1,
    }
    return bool(connection.execute(_TRIED, bind).scalar_one())


_TRIED = text(
    f"SELECT EXISTS (SELECT FROM slice s CROSS JOIN job WHERE {_FREE}"
    " AND s.attempts BETWEEN 1 AND :most)"
)


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


def hold_job(connection: Connection, held: Slice) -> bool:
    """Lock the row of a held slice's job until the transaction ends; False where it has ended.

    Whoever first shares that row and then counts the job down would wait in a circle with others.
    """
    statement = text("SELECT id FROM job WHERE id = :job AND finished_at IS NULL FOR NO KEY UPDATE")
    return connection.execute(statement, {"job": held.job_id}).first() is not None


def release(connection: Connection, held: Slice, error_code: str | None = None) -> bool:
    """Give a slice back: to be taken at once when yielding, or again later after an error.

    Yielding undoes the claim's attempt, and no earlier one: whoever kills workers gains nothing.
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
    "UPDATE slice SET state = 'waiting', token = NULL, lease_until = NULL,"
    " attempts = greatest(attempts - 1, 0), publish_at = now()"
    " WHERE job_id = :job AND stage = :stage AND no = :no AND token = :token"
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
    Holds the job's row until the transaction ends, which after the last slice may take `PATIENCE`
    and `ROOM`.
    """
    left = connection.execute(
        text(
            "UPDATE job SET slices_left = slices_left - 1 WHERE id = :id"
            " AND state = CAST(:state AS job_state) RETURNING slices_left, CASE slices_left"
            f" WHEN 0 THEN set_config('statement_timeout', '{PATIENCE}', true)"
            f" || set_config('work_mem', '{ROOM}', true)"
            " || set_config('plan_cache_mode', CASE WHEN query_count > 100 THEN 'auto'"
            " ELSE current_setting('plan_cache_mode') END, true) END"
        ),
        {"id": job_id, "state": state},
    ).scalar()
    return None if left is None else int(left)


def lost(connection: Connection) -> Slice | None:
    """Fail one slice that three workers in a row died over; it must then be counted down."""
    # Not IN: a plan may ask that anew for each slice, and is then given another one each time.
    row = connection.execute(
        text(
            "UPDATE slice SET state = 'failed', error_code = 'worker_lost', token = NULL,"
            " lease_until = NULL WHERE (job_id, stage, no) = ("
            " SELECT s.job_id, s.stage, s.no FROM slice s JOIN job ON job.id = s.job_id"
            " WHERE s.state = 'claimed' AND s.lease_until < now() AND s.attempts >= :attempts"
            " AND job.finished_at IS NULL LIMIT 1 FOR UPDATE OF s SKIP LOCKED)"
            " RETURNING job_id, tenant_id, stage, no, first, last, token, attempts,"
            " (SELECT trace FROM job WHERE job.id = slice.job_id) AS trace"
        ),
        {"attempts": MAX_ATTEMPTS},
    ).first()
    return _slice(row) if row else None


def _key(held: Slice) -> dict[str, Any]:
    return {"job": held.job_id, "stage": held.stage, "no": held.no, "token": held.token}


def _slice(row: Row[Any]) -> Slice:
    """In the order of RETURNING, which begins with the fields in theirs."""
    head, rest = (row.job_id, row.tenant_id, Stage(row.stage)), tuple(row)[3 : len(fields(Slice))]
    return Slice(*head, *rest)
