"""The last stage of a job: each query's ranking, from its candidates and the ledger."""

from __future__ import annotations

from repick.jobs import Slice
from repick.store import ledger, rankings, slices
from repick.store.database import Connection
from repick.store.ledger import Verdict
from worker.runtime import Runtime

TOGETHER = 16
"""Queries a transaction: each alone would spend most of its time on round trips."""


def rank_slice(runtime: Runtime, held: Slice) -> None:
    """Write the rankings of a held slice's queries, a commit a few of them and the end."""
    with runtime.database.read() as connection:
        ask = rankings.ask(connection, held.job_id)
        left = rankings.unranked(connection, held)
    while len(left) > TOGETHER:
        some, left = left[:TOGETHER], left[TOGETHER:]
        with runtime.database.begin() as connection:
            if ledger.may_go_on(connection, held) is Verdict.STOP:
                return
            slices.renew(connection, held, runtime.lease)
            rankings.rank(connection, held, some, ask)

    def last(connection: Connection) -> None:
        slices.renew(connection, held, runtime.lease)
        if slices.hold_job(connection, held):
            rankings.rank(connection, held, left, ask)

    runtime.close(held, last if left else None)
