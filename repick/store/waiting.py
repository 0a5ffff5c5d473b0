"""Slices that nobody has: how many there are, and which are due to be published again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, text

from repick.jobs import Stage
from repick.store.slices import Dispatch

REPUBLISH_AFTER = timedelta(seconds=10)
REPUBLISH_AT_MOST = timedelta(minutes=10)

_DUE = text(
    """
    UPDATE slice s SET publishes = least(s.publishes + 1, 20),
        publish_at = now() + least(:after * (2 ^ s.publishes), :most)
    FROM (
        SELECT s.job_id, s.stage, s.no FROM slice s JOIN job ON job.id = s.job_id
        WHERE s.state IN ('waiting', 'claimed') AND job.finished_at IS NULL
          AND coalesce(job.not_before <= now(), true)
          AND (s.publish_at <= now() OR s.queue = ANY(:empty)
               AND (s.state = 'waiting' OR s.lease_until < now()))
          AND s.queue <> ALL(:full)
        ORDER BY s.queue = ANY(:empty) DESC, s.publish_at LIMIT :limit FOR UPDATE OF s SKIP LOCKED
    ) due
    WHERE (s.job_id, s.stage, s.no) = (due.job_id, due.stage, due.no)
    RETURNING s.job_id, s.stage, s.queue
    """
)


def due(
    connection: Connection,
    empty_queues: Sequence[str],
    full_queues: Sequence[str] = (),
    limit: int = 500,
) -> list[Dispatch]:
    """Slices to publish again: past their time, or waiting or expired while their queue is empty.

    None of a full queue, whose messages are enough: many that nobody serves would leave no room for
    others. Each one's next time doubles, so that an overload is not made worse.
    """
    rows = connection.execute(
        _DUE,
        {
            "after": REPUBLISH_AFTER,
            "most": REPUBLISH_AT_MOST,
            "empty": list(empty_queues),
            "full": list(full_queues),
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
