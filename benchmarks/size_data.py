"""Scores, rankings and candidates, made up inside Postgres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from sqlalchemy import text

from repick.schedules import MissedPolicy, WindowPolicy
from repick.specs import ScorerSpec
from repick.store import corpora, keys, partitions, registry, schedules
from repick.store.database import Database

PLACES = 50
LEFT = 3
"""Documents of each ranking that the next run's lacks."""
CHUNK = 10_000
"""Queries a transaction."""
CORPUS, SCHEDULE = "things", "nightly"


@dataclass(frozen=True, slots=True)
class Sizes:
    queries: int
    sampled: int
    """Queries of the measures that would take too long over all of them."""

    @property
    def pairs(self) -> int:
        return self.queries * PLACES


@dataclass(frozen=True, slots=True)
class Loaded:
    """Two ended runs a week apart, and one whose candidates were just found."""

    tenant_id: int
    schedule_id: int
    scorer_id: int
    other_scorer_id: int
    provenance_id: int
    first_content: int
    expired: UUID
    before: UUID
    after: UUID
    running: UUID


def load(database: Database, sizes: Sizes) -> Loaded:
    """A query's documents are spread over all contents; the ledger has PLACES of each."""
    now = datetime.now(UTC)
    ages = [timedelta(days=days) for days in (500, 2, 1, 0)]
    expired, before, after, running = (
        UUID(int=partitions.first_id(now - age).int + 1) for age in ages
    )
    with database.begin() as connection:
        connection.execute(text("SELECT setseed(0.7)"))
        tenant = keys.ensure_tenant(connection, "size")
        scorer, other = (
            registry.register_scorer(connection, ScorerSpec(name, "none", "a" * 64, "b" * 64))
            for name in ("size", "other")
        )
        provenance = registry.put_provenance(connection, {"device": "none"})
        corpus = corpora.create(connection, tenant, CORPUS)
        schedule = schedules.create(connection, tenant, _schedule(corpus))
        assert schedule is not None
        partitions.create(connection, partitions.week_of(now - ages[0]))
        for week in partitions.missing(connection, now):
            partitions.create(connection, week)
        made = connection.execute(_CONTENTS, {"tenant": tenant, "count": sizes.queries})
        first_content = int(made.scalar_one())
    loaded = Loaded(
        *(tenant, schedule, scorer, other, provenance, first_content),
        *(expired, before, after, running),
    )
    with _without_foreign_keys(database):
        for run, age in zip((expired, before, after), ages, strict=False):
            _ended(database, sizes, loaded, run, now - age)
        _insert(database, sizes, _SCORES, _binds(loaded, sizes))
        _running(database, sizes, loaded)
    with database.autocommit() as connection:
        connection.execute(text("VACUUM ANALYZE"))
    return loaded


@contextmanager
def _without_foreign_keys(database: Database) -> Iterator[None]:
    """They are checked once at the end instead of row by row; indexes stay, and grow as they do."""
    with database.begin() as connection:
        keys = connection.execute(_FOREIGN_KEYS).all()
        for key in keys:
            connection.execute(text(f"ALTER TABLE {key.table} DROP CONSTRAINT {key.name}"))
    yield
    with database.begin() as connection:
        for key in keys:
            add = f"ALTER TABLE {key.table} ADD CONSTRAINT {key.name} {key.definition}"
            connection.execute(text(add))


def _schedule(corpus: int | None) -> Mapping[str, object]:
    return {
        "name": SCHEDULE,
        "corpus_id": corpus,
        "cron": "30 2 * * *",
        "time_zone": "UTC",
        "missed": MissedPolicy.RUN,
        "until": time(6),
        "after_until": WindowPolicy.PARTIAL,
        "k": PLACES,
        "top_n": PLACES,
    }


def _binds(loaded: Loaded, sizes: Sizes) -> dict[str, object]:
    return {
        "tenant": loaded.tenant_id,
        "schedule": loaded.schedule_id,
        "scorer": loaded.scorer_id,
        "provenance": loaded.provenance_id,
        "first": loaded.first_content,
        "contents": sizes.queries,
        "places": PLACES,
        "pool": PLACES + LEFT,
    }


def _insert(database: Database, sizes: Sizes, statement: str, binds: dict[str, object]) -> None:
    for low, high in _chunks(sizes.queries):
        with database.begin() as connection:
            connection.execute(text(statement), binds | {"low": low, "high": high})


def _chunks(queries: int) -> Iterator[tuple[int, int]]:
    for low in range(0, queries, CHUNK):
        yield low, min(low + CHUNK, queries) - 1


def _ended(database: Database, sizes: Sizes, loaded: Loaded, run: UUID, when: datetime) -> None:
    binds = _binds(loaded, sizes) | {"run": run, "when": when}
    with database.begin() as connection:
        connection.execute(text(_JOB.format(state="succeeded", finished=":when")), binds)
        connection.execute(text(_RUN), binds)
        schedules.switch(connection, loaded.tenant_id, loaded.schedule_id, run, when)
    for statement in (_QUERIES, _RANKINGS):
        _insert(database, sizes, statement, binds)


def _running(database: Database, sizes: Sizes, loaded: Loaded) -> None:
    binds = _binds(loaded, sizes) | {"run": loaded.running, "when": None}
    with database.begin() as connection:
        connection.execute(text(_JOB.format(state="retrieving", finished="NULL")), binds)
    for statement in (_QUERIES, _CANDIDATES):
        _insert(database, sizes, statement, binds)


_FOREIGN_KEYS = text(
    "SELECT conrelid::regclass::text AS table, conname AS name,"
    " pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE contype = 'f'"
    " AND conparentid = 0 AND conrelid::regclass::text"
    " IN ('pair_score', 'ranking', 'job_query', 'candidate')"
)
_CONTENTS = text(
    "WITH made AS (INSERT INTO content (tenant_id, sha256, text) SELECT :tenant,"
    " sha256(n::text::bytea), 'text ' || n FROM generate_series(1, CAST(:count AS int)) n"
    " RETURNING id) SELECT min(id) FROM made"
)
_JOB = """
    INSERT INTO job (id, tenant_id, kind, state, scorer_id, k, top_n, query_count, slices_left,
        finished_at)
    VALUES (:run, :tenant, 'nightly', '{state}', :scorer, :places, :places, :contents, 0,
        CAST({finished} AS timestamptz))
"""
_RUN = """
    INSERT INTO schedule_run (tenant_id, schedule_id, tick, run_id, trigger, state, settled_at,
        published_at)
    VALUES (:tenant, :schedule, :when, :run, 'tick', 'published', :when, :when)
"""
_QUERIES = """
    INSERT INTO job_query (job_id, query_no, tenant_id, content_id, standing_query)
    SELECT :run, q, :tenant, :first + q, 'query-' || q
    FROM generate_series(CAST(:low AS bigint), :high) q
"""
# Fifty of fifty-three documents, the same pool in each run, nearly in order. The scores are as
# random as a model's: what repeats would be kept compressed.
_RANKINGS = """
    INSERT INTO ranking (job_id, query_no, tenant_id, scorer_id, untrained, asked, found,
        external_ids, content_ids, scores, margins, label_masses, entropies, enhanced_at,
        coarse_ranks, coarse_scores, cut_tokens)
    SELECT :run, q, :tenant, :scorer, false, :places, :places, hit.*
    FROM generate_series(CAST(:low AS bigint), :high) q CROSS JOIN LATERAL (
        SELECT array_agg('document-' || (q * 7919 + place * 104729) % :contents ORDER BY near),
            array_agg(:first + (q * 7919 + place * 104729) % :contents ORDER BY near),
            array_agg(score ORDER BY score DESC), array_agg(score * 9 - 4 ORDER BY score DESC),
            array_agg(1 - 0.02 * random()), array_agg(random()),
            array_agg(CAST(NULL AS smallint)), array_agg(place + 1 ORDER BY near),
            array_agg(random()), array_agg(0)
        FROM (SELECT place, place + 4 * random() AS near, random() AS score
              FROM generate_series(0, CAST(:pool AS int) - 1) place WHERE q >= 0
              ORDER BY near LIMIT :places) drawn
    ) hit
"""
_SCORES = """
    INSERT INTO pair_score (tenant_id, query_id, document_id, scorer_id, provenance_id, margin,
        score, label_mass, entropy, enhanced_at, label_logits, last_used_at)
    SELECT :tenant, :first + q, :first + (q * 7919 + place * 104729) % :contents, :scorer,
        :provenance, random() * 9 - 4, random(), 1 - 0.02 * random(), random(), '{NULL}',
        jsonb_build_array(jsonb_build_array(random() * 20, random() * 20)),
        now() - interval '8 days'
    FROM generate_series(CAST(:low AS bigint), :high) q,
        generate_series(0, CAST(:places AS int) - 1) place
"""
_CANDIDATES = """
    INSERT INTO candidate (job_id, query_no, coarse_rank, tenant_id, item_id, external_id,
        content_id, coarse_score)
    SELECT :run, q, place + 1, :tenant, (q * 7919 + place * 104729) % :contents,
        'document-' || (q * 7919 + place * 104729) % :contents,
        :first + (q * 7919 + place * 104729) % :contents, random()
    FROM generate_series(CAST(:low AS bigint), :high) q,
        generate_series(0, CAST(:places AS int) - 1) place
"""
