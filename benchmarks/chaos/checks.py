"""What must hold when all is quiet again, read from the tables and from the scorers' own logs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from benchmarks.chaos.client import Accepted
from benchmarks.chaos.commits import recorded, stale
from benchmarks.chaos.function import Call, margin

ALLOWED = {
    "succeed": {"succeeded"},
    "poisoned": {"failed"},
    # A cancel may come too late.
    "cancelled": {"cancelled", "succeeded"},
}


@dataclass(frozen=True, slots=True)
class Findings:
    """Counts of what went wrong, but `scored_again`, which faults make unavoidable."""

    lost: int
    failed_unexpected: int
    unfinished: int
    different: int
    doubled: int
    held: int
    overdone: int
    """Slices of which more was committed than they have."""
    stale: int
    """Batches that were committed under a token that was not their slice's any more."""
    scored_again: int

    @property
    def violations(self) -> int:
        wrong = (self.lost, self.failed_unexpected, self.unfinished, self.different)
        return sum(wrong) + self.doubled + self.held + self.overdone + self.stale


def examine(
    connection: Connection,
    accepted: Sequence[Accepted],
    documents: Sequence[str],
    made: Sequence[Call],
    two_sweeps_s: float,
) -> Findings:
    """Compare what the database holds with what was promised and with the function itself."""
    rows = connection.execute(text("SELECT id::text, state::text FROM job"))
    states: dict[str, str] = {row.id: row.state for row in rows}
    final = {state for allowed in ALLOWED.values() for state in allowed} | {"partial"}
    mine = {one: states.get(one.id) for one in accepted}
    return Findings(
        lost=sum(state is None for state in mine.values()),
        failed_unexpected=sum(
            state in final and state not in ALLOWED[one.fate] for one, state in mine.items()
        ),
        unfinished=sum(state is not None and state not in final for state in mine.values()),
        different=_wrong_scores(connection) + _wrong_rankings(connection, mine, documents),
        doubled=len(states) - len({one.id for one in accepted} & set(states)),
        held=_held(connection, two_sweeps_s),
        overdone=_overdone(connection),
        stale=stale(recorded(connection)),
        scored_again=sum(n - 1 for n in Counter(p for call in made for p in call.pairs).values()),
    )


def _wrong_scores(connection: Connection) -> int:
    rows = connection.execute(
        text(
            "SELECT q.text AS query, d.text AS document, p.margin FROM pair_score p"
            " JOIN content q ON q.tenant_id = p.tenant_id AND q.id = p.query_id"
            " JOIN content d ON d.tenant_id = p.tenant_id AND d.id = p.document_id"
        )
    )
    return sum(row.margin != margin(row.query, row.document) for row in rows)


def _wrong_rankings(
    connection: Connection, states: Mapping[Accepted, str | None], documents: Sequence[str]
) -> int:
    """Rankings that are not those of a run without faults: all documents by the function alone."""
    rows = connection.execute(
        text("SELECT job_id::text AS job, external_ids, margins FROM ranking")
    )
    found: dict[str, Any] = {row.job: row for row in rows}
    return sum(
        state == "succeeded" and not _equal(found.get(one.id), one.query, documents)
        for one, state in states.items()
    )


def _equal(row: Any, query: str, documents: Sequence[str]) -> bool:
    expected = sorted(documents, key=lambda one: -margin(query, one))
    return (
        row is not None
        and row.external_ids == expected
        and row.margins == [margin(query, one) for one in expected]
    )


def _held(connection: Connection, two_sweeps_s: float) -> int:
    """Leases of live jobs that ran out longer ago than two sweeps."""
    return int(
        connection.execute(
            text(
                "SELECT count(*) FROM slice s JOIN job ON job.id = s.job_id"
                " WHERE s.state = 'claimed' AND job.finished_at IS NULL"
                " AND s.lease_until < now() - make_interval(secs => :seconds)"
            ),
            {"seconds": two_sweeps_s},
        ).scalar_one()
    )


def _overdone(connection: Connection) -> int:
    statement = text("SELECT count(*) FROM slice WHERE pairs_done > last - first + 1")
    return int(connection.execute(statement).scalar_one())


def batches_again(made: Sequence[Call], killed: Mapping[int, float]) -> list[int]:
    """For each killed process, by pid with its last moment: how many batches its death cost.

    Those are scored again after it. What was scored again while it lived, another fault had cost.
    """
    lost, following = Counter[int](), dict[tuple[str, str], float]()
    for call in reversed(made):
        again = min(
            (following[pair] for pair in call.pairs if pair in following), default=-math.inf
        )
        lost[call.pid] += again > killed.get(call.pid, math.inf)
        following.update(dict.fromkeys(call.pairs, call.at))
    return [lost[pid] for pid in killed]
