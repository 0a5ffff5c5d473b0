"""Jobs of kind nightly: made of standing queries, admitted in their turn, put off and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from repick.jobs import Stage
from repick.store import jobs, standing
from repick.store.jobs import NewJob, chunks, insert_slices
from repick.store.runs import Run
from repick.store.slices import Dispatch

IN_LINE = datetime(9000, 1, 1, tzinfo=UTC)
"""`not_before` of a job that waits for one of its tenant's places."""


def submit(
    connection: Connection, new: NewJob, tags: Sequence[str] | None, not_before: datetime | None
) -> Dispatch | None:
    """Insert a nightly job over its corpus's standing queries; None where there are none.

    `deadline` and `not_before` are instants of the database's clock.
    """
    assert new.corpus_id is not None
    assert new.encoder_queue is not None
    jobs.insert_job(connection, new, slices_left=0)
    count = standing.copy_into(connection, new.id, new.tenant_id, new.corpus_id, tags)
    if count == 0:
        connection.execute(text("DELETE FROM job WHERE id = :job"), {"job": new.id})
        return None
    ranges = chunks(count, new.queries_per_slice)
    connection.execute(
        text(
            "UPDATE job SET query_count = :count, slices_left = :left, not_before = :not_before"
            " WHERE id = :job"
        ),
        {"count": count, "left": len(ranges), "not_before": not_before, "job": new.id},
    )
    queue = new.kind.queue(new.encoder_queue)
    insert_slices(connection, new.id, new.tenant_id, Stage.RETRIEVE, queue, ranges)
    return Dispatch(new.id, Stage.RETRIEVE, queue, len(ranges))


_ADMIT = text(
    """
    UPDATE job SET not_before = NULL WHERE not_before = :in_line AND finished_at IS NULL
      AND id IN (SELECT id FROM (
          SELECT id, not_before, row_number() OVER (PARTITION BY tenant_id ORDER BY
              not_before IS NOT DISTINCT FROM CAST(:in_line AS timestamptz), id) AS place
          FROM job WHERE kind = 'nightly' AND finished_at IS NULL
            AND (not_before IS NULL OR not_before <= now() OR not_before = :in_line)
      ) line WHERE place <= :places)
    """
)


def admit(connection: Connection, places: int) -> int:
    """Let each tenant's oldest nightly jobs begin while it has places; give how many began.

    One that is put off, perhaps for a week, takes no place until its window opens.
    Two sweeps at once are kept from counting the same place twice.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('repick.nightly.admit'))"))
    return connection.execute(_ADMIT, {"in_line": IN_LINE, "places": places}).rowcount


@dataclass(frozen=True, slots=True)
class Closed:
    """A run that goes on although its window has closed."""

    tenant_id: int
    schedule_id: int
    run_id: UUID


def windows_closed(connection: Connection, now: datetime) -> list[Closed]:
    """Running runs, locked, whose window has closed and whose rest is to be put off: the others
    have a deadline since they began, whatever their schedule says by now.

    One whose job somebody is committing to is left for the next round: that may take minutes.
    """
    rows = connection.execute(
        text(
            "SELECT r.tenant_id, r.schedule_id, r.run_id FROM schedule_run r"
            " JOIN job ON job.id = r.run_id AND job.finished_at IS NULL AND job.deadline IS NULL"
            " WHERE r.state = 'running' AND r.window_until <= :now"
            " FOR NO KEY UPDATE OF r, job SKIP LOCKED"
        ),
        {"now": now},
    )
    return [Closed(row.tenant_id, row.schedule_id, row.run_id) for row in rows]


def put_off(connection: Connection, one: Closed, opens: datetime, closes: datetime | None) -> None:
    """The rest of a run waits until its window opens again; workers see it within one batch."""
    connection.execute(
        text("UPDATE job SET not_before = :opens WHERE id = :run AND finished_at IS NULL"),
        {"opens": opens, "run": one.run_id},
    )
    connection.execute(
        text(
            "UPDATE schedule_run SET window_until = :closes"
            " WHERE tenant_id = :tenant AND run_id = :run"
        ),
        {"closes": closes, "tenant": one.tenant_id, "run": one.run_id},
    )


_FIGURES = text(
    """
    SELECT job.state::text AS state, job.query_count AS queries, written.n AS rankings,
        job.pairs_total, job.pairs_reused, job.pairs_failed,
        job.pairs_done - job.pairs_reused - job.pairs_failed AS pairs_scored, job.device_s,
        extract(epoch FROM job.finished_at - job.created_at)::float8 AS duration_s,
        job.started_at, job.finished_at, job.error, written.label_mass_mean,
        scorer.name AS scorer, scorer.fingerprint AS scorer_fingerprint, encoder.name AS encoder
    FROM job JOIN scorer ON scorer.id = job.scorer_id
    LEFT JOIN encoder ON encoder.id = job.encoder_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, avg((SELECT avg(m) FROM unnest(r.label_masses) m)) AS label_mass_mean
        FROM ranking r WHERE r.job_id = job.id
    ) written
    WHERE job.id = :run AND job.tenant_id = :tenant
    """
)
_LAST_UNIT = text(
    """
    SELECT (figures->>'device_s')::float8 / (figures->>'pairs_scored')::float8 AS unit
    FROM schedule_run WHERE tenant_id = :tenant AND schedule_id = :schedule
      AND figures->>'scorer_fingerprint' = :scorer AND (figures->>'pairs_scored')::float8 > 0
    ORDER BY tick DESC LIMIT 1
    """
)


def figures(connection: Connection, run: Run) -> Mapping[str, Any] | None:
    """What a run needed, reused and took, as JSON; None where its job is gone.

    `from_nothing_s` is what scoring every pair would have taken: the device's seconds a pair of
    this run or, where it scored none, of the last run by the same scorer that did; None where no
    run has measured it.
    """
    binds = {"run": run.run_id, "tenant": run.tenant_id}
    row = connection.execute(_FIGURES, binds).mappings().first()
    if row is None:
        return None
    found = dict(row)
    for name in ("started_at", "finished_at"):
        found[name] = found[name].isoformat() if found[name] else None
    unit = found["device_s"] / found["pairs_scored"] if found["pairs_scored"] else None
    if unit is None:
        facts = {"schedule": run.schedule_id, "scorer": found["scorer_fingerprint"]}
        unit = connection.execute(_LAST_UNIT, {"tenant": run.tenant_id} | facts).scalar()
    return found | {"from_nothing_s": None if unit is None else unit * found["pairs_total"]}
