"""The last stage of a job: each query's ranking, from its candidates and the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from repick.jobs import Slice
from repick.store import ledger, rankings, slices
from repick.store.database import Connection
from repick.store.ledger import Verdict
from worker.runtime import Runtime

TOGETHER = 16
"""Queries a transaction: each alone would spend most of its time on round trips."""


def rank_slice(runtime: Runtime, held: Slice) -> None:
    """Write the rankings of a held slice's queries, a commit a few of them.

    The last few are committed with the end of the slice.
    """
    with runtime.database.read() as connection:
        ask = rankings.ask(connection, held.job_id)
        left = rankings.unranked(connection, held)

    def write(connection: Connection, query_nos: Sequence[int]) -> None:
        slices.renew(connection, held, runtime.lease)
        rankings.rank(connection, held, query_nos, ask)

    while len(left) > TOGETHER:
        with runtime.database.begin() as connection:
            if ledger.may_go_on(connection, held) is Verdict.STOP:
                return
            write(connection, left[:TOGETHER])
        left = left[TOGETHER:]
    runtime.close(held, lambda connection: write(connection, left))
