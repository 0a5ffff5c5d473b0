"""Scores and two runs' rankings, made up and loaded by COPY."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import Connection, text

from repick.specs import ScorerSpec
from repick.store import keys, registry
from repick.store.database import Database

PLACES = 50
LEFT = 3
"""Documents of each ranking that the next run's lacks."""


@dataclass(frozen=True, slots=True)
class Sizes:
    scores: int
    queries: int


@dataclass(frozen=True, slots=True)
class Loaded:
    tenant_id: int
    scorer_id: int
    first: UUID
    second: UUID
    middle: int
    sample: Sequence[tuple[int, list[int]]]
    """Queries with documents whose scores are in the ledger."""


@dataclass(frozen=True, slots=True)
class Times:
    scores_s: float
    rankings_s: float


def load(database: Database, sizes: Sizes) -> tuple[Loaded, Times]:
    chance = random.Random(7)
    runs = [UUID(int=uuid_utils.compat.uuid7().int) for _ in range(2)]
    scored = max(1, sizes.scores // PLACES)
    contents = max(scored, sizes.queries) + PLACES
    with database.begin() as connection:
        tenant = keys.ensure_tenant(connection, "size")
        scorer = registry.register_scorer(
            connection, ScorerSpec("size", "none", "a" * 64, "b" * 64)
        )
        provenance = registry.put_provenance(connection, {"device": "none"})
        first = _contents(connection, tenant, contents)
        started = time.perf_counter()
        rows = (
            (
                tenant,
                first + q,
                first + (q + p) % contents,
                scorer,
                provenance,
                chance.gauss(0, 1),
                chance.random(),
                0.98,
                0.4,
                "{NULL}",
                '{"Yes": 9.1, "No": 7.4}',
            )
            for q in range(scored)
            for p in range(PLACES)
        )
        _copy(connection, "pair_score (tenant_id, query_id, document_id, scorer_id, provenance_id,"
              " margin, score, label_mass, entropy, enhanced_at, label_logits)", rows)  # fmt: skip
        scores_s = time.perf_counter() - started
    started = time.perf_counter()
    for run in runs:
        with database.begin() as connection:
            _run(connection, run, tenant, scorer, first, sizes.queries, chance)
    rankings_s = time.perf_counter() - started
    sample = [
        (first + q, [first + (q + p) % contents for p in range(PLACES)])
        for q in chance.sample(range(scored), min(200, scored))
    ]
    return Loaded(tenant, scorer, runs[0], runs[1], sizes.queries // 2, sample), Times(
        scores_s, rankings_s
    )


def _contents(connection: Connection, tenant: int, count: int) -> int:
    """Insert texts; the first one's id. Ids are consecutive."""
    statement = text(
        "WITH made AS (INSERT INTO content (tenant_id, sha256, text) SELECT :tenant,"
        " sha256(n::text::bytea), 'text ' || n FROM generate_series(1, :count) n RETURNING id)"
        " SELECT min(id) FROM made"
    )
    return int(connection.execute(statement, {"tenant": tenant, "count": count}).scalar_one())


def _run(
    connection: Connection,
    run: UUID,
    tenant: int,
    scorer: int,
    first: int,
    queries: int,
    chance: random.Random,
) -> None:
    connection.execute(
        text(
            "INSERT INTO job (id, tenant_id, kind, state, scorer_id, k, top_n, query_count,"
            " slices_left, finished_at) VALUES (:run, :tenant, 'nightly', 'succeeded', :scorer,"
            " :k, :k, :queries, 0, now())"
        ),
        {"run": run, "tenant": tenant, "scorer": scorer, "k": PLACES, "queries": queries},
    )
    asked = ((run, no, tenant, first + no, f"q{no}") for no in range(queries))
    _copy(connection, "job_query (job_id, query_no, tenant_id, content_id, standing_query)", asked)
    ranked = (_ranking(run, no, tenant, scorer, first, chance) for no in range(queries))
    _copy(connection, "ranking (job_id, query_no, tenant_id, scorer_id, untrained, asked, found,"
          " external_ids, content_ids, scores, margins, label_masses, entropies, enhanced_at,"
          " coarse_ranks, coarse_scores, cut_tokens)", ranked)  # fmt: skip


def _ranking(
    run: UUID, no: int, tenant: int, scorer: int, first: int, chance: random.Random
) -> tuple[object, ...]:
    """Fifty of fifty-three documents, the same pool in each run, nearly in order."""
    pool = sorted(range(PLACES + LEFT), key=lambda place: place + chance.gauss(0, 2))[:PLACES]
    scores = sorted((chance.random() for _ in range(PLACES)), reverse=True)
    return (
        *(run, no, tenant, scorer, False, PLACES, PLACES),
        *([f"document-{no + place}" for place in pool], [first + place for place in pool]),
        *(scores, scores, [0.98] * PLACES, [0.4] * PLACES, [None] * PLACES),
        *(list(range(1, PLACES + 1)), scores, [0] * PLACES),
    )


def _copy(connection: Connection, into: str, rows: Iterable[tuple[object, ...]]) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
