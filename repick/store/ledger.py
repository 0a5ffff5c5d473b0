"""The ledger of pair scores: the first committed score of a pair wins and is never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import Connection, text

from repick.jobs import PairFailure, PairScore, Slice, urgent_queue
from repick.store import slices
from repick.store.registry import UNSERVED


@dataclass(frozen=True, slots=True)
class OpenPair:
    """A pair of a slice that the ledger does not have, by content ids."""

    pair_no: int
    query_id: int
    document_id: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a claimed slice still has to score, and under which scorer."""

    scorer_id: int
    scorer_fingerprint: str
    bulk: bool
    pairs: tuple[OpenPair, ...]


def work(connection: Connection, held: Slice) -> Work:
    """The slice's pairs less those that the ledger has and those that have failed already."""
    head = connection.execute(
        text(
            "SELECT scorer.id, scorer.fingerprint, job.kind <> 'interactive' AS bulk FROM job"
            " JOIN scorer ON scorer.id = job.scorer_id WHERE job.id = :job"
        ),
        {"job": held.job_id},
    ).one()
    rows = connection.execute(
        text(
            "SELECT DISTINCT ON (c.pair_no) c.pair_no, q.content_id AS query_id,"
            " c.content_id AS document_id FROM candidate c"
            " JOIN job_query q ON q.job_id = c.job_id AND q.query_no = c.query_no"
            " WHERE c.job_id = :job AND c.pair_no BETWEEN :first AND :last"
            " AND c.error_code IS NULL AND NOT EXISTS (SELECT FROM pair_score p"
            " WHERE p.tenant_id = c.tenant_id AND p.query_id = q.content_id"
            " AND p.document_id = c.content_id AND p.scorer_id = :scorer)"
            " ORDER BY c.pair_no"
        ),
        {"job": held.job_id, "first": held.first, "last": held.last, "scorer": head.id},
    )
    pairs = tuple(OpenPair(row.pair_no, row.query_id, row.document_id) for row in rows)
    return Work(head.id, head.fingerprint, head.bulk, pairs)


class Verdict(StrEnum):
    """Whether the next batch of a slice may start."""

    GO_ON = "go_on"
    STOP = "stop"  # the job has ended, or the slice is somebody else's by now
    GIVE_WAY = "give_way"  # an interactive slice waits for the same model, or a window closed


_HELD = text(
    """
    SELECT coalesce(job.not_before > now(), false) AS window_closed, s.queue
    FROM slice s JOIN job ON job.id = s.job_id
    WHERE s.job_id = :job AND s.stage = :stage AND s.no = :no AND s.token = :token
      AND job.finished_at IS NULL
    """
)
# What no worker serves would be given way to for ever: a model's old weights have its queue, too.
_URGENT = text(
    "SELECT EXISTS (SELECT FROM slice JOIN job ON job.id = slice.job_id"
    " JOIN scorer ON scorer.id = job.scorer_id"
    " WHERE slice.state = 'waiting' AND slice.queue = :queue AND job.finished_at IS NULL"
    " AND scorer.seen_at > now() - :silent)"
)


def may_go_on(connection: Connection, held: Slice) -> Verdict:
    """Whether the slice is still held, its job still runs and nothing urgent waits."""
    row = connection.execute(
        _HELD, {"job": held.job_id, "stage": held.stage, "no": held.no, "token": held.token}
    ).first()
    if row is None:
        return Verdict.STOP
    if row.window_closed or _urgent_waits(connection, row.queue):
        return Verdict.GIVE_WAY
    return Verdict.GO_ON


def _urgent_waits(connection: Connection, queue: str) -> bool:
    """Whether interactive work waits for the model of a bulk queue, and a worker serves it.

    It may be of any week, so the interactive, who come often, are spared the question.
    """
    urgent = urgent_queue(queue)
    bind = {"queue": urgent, "silent": UNSERVED}
    return bool(urgent and connection.execute(_URGENT, bind).scalar_one())


def commit_batch(
    connection: Connection,
    held: Slice,
    work: Work,
    scores: Mapping[OpenPair, PairScore],
    failures: Mapping[OpenPair, PairFailure],
    provenance_id: int,
    lease: timedelta,
    device_s: float = 0.0,
) -> None:
    """Commit a batch to the ledger and to the job's progress. Raises LeaseLost under an old token.

    Where another worker committed a pair first, its score stays. `device_s` is how long it took.
    """
    done = len(scores) + len(failures)
    slices.renew(connection, held, lease, done)
    if scores:
        insert_scores(connection, held.tenant_id, work.scorer_id, scores, provenance_id)
    if failures:
        _mark_failures(connection, held, failures)
    connection.execute(
        text(
            "UPDATE job SET pairs_done = pairs_done + :done, pairs_failed = pairs_failed + :failed,"
            " device_s = device_s + :device_s WHERE id = :job AND finished_at IS NULL"
        ),
        {"done": done, "failed": len(failures), "device_s": device_s, "job": held.job_id},
    )


# One statement and one parameter for a batch, whatever its size.
_INSERT_SCORES = text(
    """
    INSERT INTO pair_score (tenant_id, query_id, document_id, scorer_id, margin, score,
        label_mass, entropy, enhanced_at, label_logits, cut_tokens, provenance_id)
    SELECT :tenant, r.query_id, r.document_id, :scorer, r.margin, r.score, r.label_mass, r.entropy,
        r.enhanced_at, r.label_logits, r.cut_tokens, :provenance
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r (query_id bigint, document_id bigint,
        margin float8, score float8, label_mass float8, entropy float8, enhanced_at smallint[],
        label_logits jsonb, cut_tokens integer)
    ON CONFLICT DO NOTHING
    """
)


def insert_scores(
    connection: Connection,
    tenant_id: int,
    scorer_id: int,
    scores: Mapping[OpenPair, PairScore],
    provenance_id: int,
) -> None:
    """Add scores to the ledger; those that it has already stay."""
    rows = [
        {
            "query_id": pair.query_id,
            "document_id": pair.document_id,
            "margin": score.margin,
            "score": score.score,
            "label_mass": score.label_mass,
            "entropy": score.entropy,
            "enhanced_at": score.enhanced_at,
            "label_logits": score.label_logits,
            "cut_tokens": score.cut_tokens,
        }
        for pair, score in sorted(scores.items(), key=lambda entry: _order(entry[0]))
    ]
    head = {"tenant": tenant_id, "scorer": scorer_id, "provenance": provenance_id}
    connection.execute(_INSERT_SCORES, head | {"rows": json.dumps(rows, allow_nan=False)})


def _order(pair: OpenPair) -> tuple[int, int]:
    return (pair.query_id, pair.document_id)


def _mark_failures(
    connection: Connection, held: Slice, failures: Mapping[OpenPair, PairFailure]
) -> None:
    ordered: Sequence[tuple[OpenPair, PairFailure]] = list(failures.items())
    connection.execute(
        text(
            "UPDATE candidate SET error_code = :code, retryable = :retryable"
            " WHERE job_id = :job AND pair_no = :pair"
        ),
        [
            {
                "code": failure.code,
                "retryable": failure.retryable,
                "job": held.job_id,
                "pair": pair.pair_no,
            }
            for pair, failure in ordered
        ],
    )
