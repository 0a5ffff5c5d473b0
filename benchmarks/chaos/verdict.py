"""What became of the promises: the database and the call log against the function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, text

from benchmarks.chaos.client import Client, document
from benchmarks.chaos.function import POISON, margin

_JOBS = text("SELECT id::text AS id, state::text AS state, finished_at, error FROM job")
_SCORES = text(
    "SELECT q.text AS query, d.text AS document, p.margin FROM pair_score p"
    " JOIN content q ON q.id = p.query_id JOIN content d ON d.id = p.document_id"
)
_RANKINGS = text("SELECT job_id::text AS id, external_id, margin FROM ranking")
_OLD_LEASES = text(
    "SELECT count(*) FROM slice s JOIN job ON job.id = s.job_id"
    " WHERE s.state = 'claimed' AND job.finished_at IS NULL"
    " AND s.lease_until < now() - CAST(:old AS interval)"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of what went wrong, and of what was done twice."""

    accepted: int
    lost: int
    """Promised jobs that the database does not know."""
    failed_unexpected: int
    unfinished: int
    different: int
    """Scores and rankings that are not the function's, or not complete."""
    scored_again: int
    batches_again: int
    poisoned_not_failed: int
    cancelled_not_ended: int
    old_leases: int
    last_finished: datetime | None

    @property
    def clean(self) -> bool:
        wrong = (
            self.lost, self.failed_unexpected, self.unfinished, self.different,
            self.poisoned_not_failed, self.cancelled_not_ended, self.old_leases,
        )  # fmt: skip
        return not any(wrong)


def judge(connection: Connection, client: Client, calls: Path, sweep_s: float) -> Verdict:
    """Read everything back, from the tables and from what the scorers wrote down."""
    jobs = {row.id: row for row in connection.execute(_JOBS)}
    states = {job: jobs[job].state for job in client.accepted if job in jobs}
    poisoned = {job for job, query in client.accepted.items() if query.startswith(POISON)}
    plain = set(states) - poisoned - client.asked_to_cancel
    again, batches = _again(calls)
    return Verdict(
        accepted=len(client.accepted),
        lost=len(set(client.accepted) - set(jobs)),
        failed_unexpected=sum(states[job] in ("failed", "partial", "cancelled") for job in plain),
        unfinished=sum(
            state in ("queued", "retrieving", "scoring", "ranking") for state in states.values()
        ),
        different=_wrong_scores(connection) + _wrong_rankings(connection, client, states, plain),
        scored_again=again,
        batches_again=batches,
        poisoned_not_failed=sum(states.get(job) != "failed" for job in poisoned),
        cancelled_not_ended=sum(
            states.get(job) not in ("cancelled", "succeeded") for job in client.asked_to_cancel
        ),
        old_leases=int(
            connection.execute(_OLD_LEASES, {"old": timedelta(seconds=2 * sweep_s)}).scalar_one()
        ),
        last_finished=max(
            (row.finished_at for row in jobs.values() if row.finished_at), default=None
        ),
    )


def _wrong_scores(connection: Connection) -> int:
    return sum(row.margin != margin(row.query, row.document) for row in connection.execute(_SCORES))


def _wrong_rankings(
    connection: Connection, client: Client, states: Mapping[str, str], plain: set[str]
) -> int:
    """Succeeded jobs whose ranking is not all documents in the order of the function."""
    found = {
        row.id: (list(row.external_id), list(row.margin)) for row in connection.execute(_RANKINGS)
    }
    succeeded = [job for job in plain if states[job] == "succeeded"]
    return sum(found.get(job) != _expected(client, client.accepted[job]) for job in succeeded)


def _expected(client: Client, query: str) -> tuple[list[str], list[float]]:
    margins = {f"d{no}": margin(query, document(no)) for no in range(client.documents)}
    order = sorted(margins, key=lambda item: -margins[item])
    return order, [margins[item] for item in order]


def _again(calls: Path) -> tuple[int, int]:
    """Pairs that were scored after they had been before, and batches that have such a pair."""
    seen: Counter[tuple[str, str]] = Counter()
    batches: set[str] = set()
    for line in calls.read_text().splitlines() if calls.exists() else ():
        batch, query, asked = line.split("\t")
        seen[query, asked] += 1
        if seen[query, asked] > 1:
            batches.add(batch)
    return sum(count - 1 for count in seen.values()), len(batches)
