"""What a night does, from its candidates to the retention that takes it away again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import text

from benchmarks.report import Row
from benchmarks.size_clock import seconds
from benchmarks.size_data import PLACES, Loaded, Sizes
from repick import retention as rounds
from repick.jobs import PairScore, Slice, Stage
from repick.settings import Settings
from repick.store import endings, ledger, nightly, partitions, rankings, retention, runs, stages
from repick.store.database import Database
from repick.store.ledger import OpenPair
from repick.store.retention import START, Place

BATCH, TOGETHER = 32, 16
"""Pairs of a committed batch; rankings of one transaction (`worker.rank`)."""
DAY = timedelta(days=1)


def measure(database: Database, sizes: Sizes, loaded: Loaded) -> list[Row]:
    new, known = _open(database, loaded, loaded.other_scorer_id), _open(database, loaded, None)
    scored = _insert_scores(database, sizes, loaded)
    ranked = _rank(database, sizes, loaded)
    ended, _ = seconds(lambda: _end(database, loaded))
    figures, _ = seconds(lambda: _figures(database, loaded))
    return [
        Row("open_new_us_per_pair", new / sizes.pairs * 1e6, "µs"),
        Row("open_known_us_per_pair", known / sizes.pairs * 1e6, "µs"),
        Row("commit_us_per_score", scored / sizes.sampled * 1e6, "µs"),
        Row("rank_us_per_query", ranked / sizes.sampled * 1e6, "µs"),
        Row("end_us_per_pair", ended / sizes.pairs * 1e6, "µs"),
        Row("figures_us_per_ranking", figures / sizes.queries * 1e6, "µs"),
        *_retention(database, sizes, loaded),
    ]


def _open(database: Database, loaded: Loaded, scorer: int | None) -> float:
    """Seconds to open scoring; under a scorer that the ledger has nothing of, taken back."""
    with database.begin() as connection:
        before = connection.begin_nested()
        if scorer is not None:
            connection.execute(
                text("UPDATE job SET scorer_id = :scorer WHERE id = :job"),
                {"scorer": scorer, "job": loaded.running},
            )
        taken, _ = seconds(
            lambda: stages.open_scoring(connection, loaded.running, loaded.tenant_id, 500)
        )
        if scorer is not None:
            before.rollback()
    with database.autocommit() as connection:
        connection.execute(text("VACUUM candidate, pair_score"))
    return taken


def _insert_scores(database: Database, sizes: Sizes, loaded: Loaded) -> float:
    """Batches of a worker, under the other scorer."""
    score = PairScore(1.5, 0.8, 0.98, 0.4, (None,), ((9.125, 7.40625),))
    pairs = [
        OpenPair(no, loaded.first_content + no, loaded.first_content + (no * 7) % sizes.queries)
        for no in range(sizes.sampled)
    ]

    def commit() -> None:
        for start in range(0, len(pairs), BATCH):
            batch = dict.fromkeys(pairs[start : start + BATCH], score)
            with database.begin() as connection:
                ledger.insert_scores(
                    connection,
                    loaded.tenant_id,
                    loaded.other_scorer_id,
                    batch,
                    loaded.provenance_id,
                )

    return seconds(commit)[0]


def _rank(database: Database, sizes: Sizes, loaded: Loaded) -> float:
    held = Slice(loaded.running, loaded.tenant_id, Stage.RANK, 0, 0, sizes.queries - 1, uuid4(), 1)
    step = sizes.queries // sizes.sampled
    queries = range(0, sizes.queries, step)

    def rank() -> None:
        with database.begin() as connection:
            ask = rankings.ask(connection, loaded.running)
        for start in range(0, len(queries), TOGETHER):
            with database.begin() as connection:
                rankings.rank(connection, held, queries[start : start + TOGETHER], ask)

    return seconds(rank)[0]


def _end(database: Database, loaded: Loaded) -> None:
    with database.begin() as connection:
        endings.end(connection, loaded.running)


def _figures(database: Database, loaded: Loaded) -> None:
    with database.begin() as connection:
        run = runs.by_id(connection, loaded.tenant_id, loaded.after)
        assert run is not None
        nightly.figures(connection, run)


def _retention(database: Database, sizes: Sizes, loaded: Loaded) -> list[Row]:
    now = datetime.now(UTC)
    ages = rounds.ages(Settings())
    week = partitions.week_of(now - 500 * DAY)
    with database.begin() as connection:
        before = connection.begin_nested()
        deleted, n = seconds(lambda: retention.delete_jobs(connection, week.of("job"), ages, now))
        assert n == 1
        before.rollback()
    with database.begin() as connection:
        dropped, _ = seconds(lambda: partitions.drop(connection, week))
    marked, _ = seconds(lambda: _mark(database))
    kept = _old_pairs(database, sizes, loaded)
    return [
        Row("delete_us_per_ranking", deleted / sizes.queries * 1e6, "µs"),
        Row("drop_week_ms", dropped * 1000, "ms"),
        Row("mark_us_per_content", marked / sizes.queries * 1e6, "µs"),
        Row("keep_us_per_old_pair", kept * 1e6, "µs"),
    ]


def _mark(database: Database) -> None:
    after: Place | None = START
    while after is not None:
        with database.begin() as connection:
            after = retention.mark_contents(connection, after)


def _old_pairs(database: Database, sizes: Sizes, loaded: Loaded) -> float:
    """Seconds a pair past its age to find that a ranking keeps it, nearly all of them."""
    with database.begin() as connection:
        aged = connection.execute(
            text(
                "UPDATE pair_score SET last_used_at = now() - interval '60 days'"
                " WHERE scorer_id = :scorer AND query_id < :first + :queries"
            ),
            {
                "scorer": loaded.scorer_id,
                "first": loaded.first_content,
                "queries": sizes.sampled // PLACES,
            },
        ).rowcount
        taken, _ = seconds(lambda: retention.delete_pairs(connection, 30 * DAY, START))
    return taken / aged
