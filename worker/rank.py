"""The last stage of a job: each query's ranking, from its candidates and the ledger."""

from __future__ import annotations

from repick.jobs import Slice
from repick.store import ledger, rankings, slices
from repick.store.ledger import Verdict
from worker.runtime import Runtime

TOGETHER = 16
"""Queries a transaction: each alone would spend most of its time on round trips."""


def rank_slice(runtime: Runtime, held: Slice) -> None:
    """Write the rankings of a held slice's queries, a commit a few of them, and end it."""
    with runtime.database.begin() as connection:
        ask = rankings.ask(connection, held.job_id)
        open_queries = rankings.unranked(connection, held)
    for start in range(0, len(open_queries), TOGETHER):
        with runtime.database.begin() as connection:
            if ledger.may_go_on(connection, held) is Verdict.STOP:
                return
            slices.renew(connection, held, runtime.lease)
            rankings.rank(connection, held, open_queries[start : start + TOGETHER], ask)
    runtime.close(held)
