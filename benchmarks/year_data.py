"""More than a year of nightly runs of a small corpus, as they would lie in Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from repick.schedules import MissedPolicy, WindowPolicy
from repick.specs import ScorerSpec
from repick.store import corpora, partitions, registry, schedules
from repick.store.database import Database

CORPUS, SCHEDULE = "things", "nightly"
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Each night one of a query's `places` documents leaves and another one enters."""

    nights: int
    queries: int
    places: int

    @property
    def documents(self) -> int:
        return self.nights + self.places


@dataclass(frozen=True, slots=True)
class Night:
    tick: datetime
    run: UUID


def load(database: Database, sizes: Sizes, tenant: int) -> list[Night]:
    """The nights, the oldest first; the last was today's."""
    now = datetime.now(UTC)
    ticks = [now - (sizes.nights - 1 - no) * DAY - timedelta(hours=2) for no in range(sizes.nights)]
    nights = [Night(tick, UUID(int=partitions.first_id(tick).int + 1)) for tick in ticks]
    with database.begin() as connection:
        _make_weeks(connection, nights)
        corpus = corpora.create(connection, tenant, CORPUS)
        schedule = schedules.create(connection, tenant, _schedule(corpus, sizes))
        scorer = registry.register_scorer(
            connection, ScorerSpec("year", "none", "a" * 64, "b" * 64)
        )
        binds = {
            "tenant": tenant,
            "corpus": corpus,
            "schedule": schedule,
            "scorer": scorer,
            "provenance": registry.put_provenance(connection, {"device": "none"}),
            "runs": [night.run for night in nights],
            "ticks": ticks,
            "nights": sizes.nights,
            "queries": sizes.queries,
            "places": sizes.places,
            "contents": sizes.queries + sizes.documents,
        }
        binds["first"] = connection.execute(_CONTENTS, binds).scalar_one()
        for statement in _STATEMENTS:
            connection.execute(statement, binds)
        assert schedule is not None
        schedules.switch(connection, tenant, schedule, nights[-1].run, nights[-1].tick)
    with database.autocommit() as connection:
        connection.execute(text("VACUUM ANALYZE"))
    return nights


def _make_weeks(connection: Connection, nights: Sequence[Night]) -> None:
    weeks = {partitions.week_of(night.tick) for night in nights}
    for week in sorted(weeks - {*partitions.weeks(connection)}, key=lambda week: week.start):
        partitions.create(connection, week)


def _schedule(corpus: int | None, sizes: Sizes) -> Mapping[str, object]:
    return {
        "name": SCHEDULE,
        "corpus_id": corpus,
        "cron": "30 2 * * *",
        "time_zone": "UTC",
        "missed": MissedPolicy.SKIP,
        "after_until": WindowPolicy.PARTIAL,
        "k": sizes.places,
        "top_n": sizes.places,
        "next_at": datetime.now(UTC) + 300 * DAY,
    }


# Queries come first, then documents. Night n ranks the documents n … n + places - 1 of a query's
# own row of them; so a document's last night is that of its number.
_CONTENTS = text(
    "WITH made AS (INSERT INTO content (tenant_id, sha256, text) SELECT :tenant,"
    " sha256(('year ' || n)::bytea), 'text ' || n"
    " FROM generate_series(1, CAST(:contents AS int)) n RETURNING id) SELECT min(id) FROM made"
)
_NIGHT = (
    "unnest(CAST(:runs AS uuid[]), CAST(:ticks AS timestamptz[])) WITH ORDINALITY"
    " AS night (run, tick, no)"
)
_LAST = _NIGHT.replace("night", "last")
_QUERY = "generate_series(0, CAST(:queries AS bigint) - 1) q"
_STATEMENTS = tuple(
    text(statement.format(night=_NIGHT, last=_LAST, query=_QUERY))
    for statement in (
        """
        INSERT INTO job (id, tenant_id, kind, state, corpus_id, scorer_id, k, top_n, query_count,
            slices_left, created_at, finished_at)
        SELECT run, :tenant, 'nightly', 'succeeded', :corpus, :scorer, :places, :places, :queries,
            0, tick, tick + interval '1 hour'
        FROM {night}
        """,
        """
        INSERT INTO schedule_run (tenant_id, schedule_id, tick, run_id, trigger, state, settled_at,
            published_at)
        SELECT :tenant, :schedule, tick, run, 'tick', 'published', tick, tick FROM {night}
        """,
        """
        INSERT INTO standing_query (tenant_id, corpus_id, external_id, content_id)
        SELECT :tenant, :corpus, 'query-' || q, :first + q FROM {query}
        """,
        """
        INSERT INTO job_query (job_id, query_no, tenant_id, content_id, standing_query)
        SELECT run, q, :tenant, :first + q, 'query-' || q FROM {night}, {query}
        """,
        """
        INSERT INTO ranking (job_id, query_no, tenant_id, scorer_id, untrained, asked, found,
            external_ids, content_ids, scores, margins, label_masses, entropies, enhanced_at,
            coarse_ranks, coarse_scores, cut_tokens, created_at)
        SELECT run, q, :tenant, :scorer, false, :places, :places, hit.*, tick
        FROM {night}, {query}, LATERAL (
            SELECT array_agg('document-' || no - 1 + place),
                array_agg(:first + :queries + no - 1 + place),
                array_agg(random()), array_agg(random()), array_agg(random()), array_agg(random()),
                array_agg(CAST(NULL AS smallint)), array_agg(place + 1), array_agg(random()),
                array_agg(0)
            FROM generate_series(0, CAST(:places AS int) - 1) place WHERE q >= 0
        ) hit
        """,
        """
        INSERT INTO pair_score (tenant_id, query_id, document_id, scorer_id, provenance_id, margin,
            score, label_mass, entropy, enhanced_at, label_logits, created_at, last_used_at)
        SELECT :tenant, :first + q, :first + :queries + d, :scorer, :provenance, random(), random(),
            random(), random(), '{{NULL}}', '[[9.125, 7.40625]]', last.tick, last.tick
        FROM {query}, generate_series(0, CAST(:nights AS int) + :places - 2) d
        JOIN {last} ON last.no = least(d + 1, :nights)
        """,
    )
)
