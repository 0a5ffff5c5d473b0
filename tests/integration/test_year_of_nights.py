"""More than a year of nights: what retention promises of their runs, rankings and scores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from benchmarks.year_data import Sizes, load
from repick.retention import Retention
from repick.store.retention import Ages
from tests.integration.pipeline import Pipeline

DAY = timedelta(days=1)
AGES = Ages(jobs=30 * DAY, nightly=400 * DAY, scores=30 * DAY)
SIZES = Sizes(nights=440, queries=3, places=4)


def test_retention_keeps_a_years_nights_with_the_scores_they_were_made_of(
    pipeline: Pipeline,
) -> None:
    nights = load(pipeline.database, SIZES, pipeline.tenant_id)
    now = datetime.now(UTC)
    keeper = Retention(pipeline.database, pipeline.runtime.media, AGES)
    for _ in range(2):
        keeper.run(now)
        kept = [night.run for night in nights if night.tick > now - AGES.nightly]
        assert _all(pipeline, "SELECT id FROM job ORDER BY id") == kept
        assert len(kept) == 400
        rankings = _all(pipeline, "SELECT count(*) FROM ranking GROUP BY job_id")
        assert rankings == [SIZES.queries] * len(kept)
        listed = _all(pipeline, "SELECT run_id FROM schedule_run ORDER BY tick")
        assert listed == [night.run for night in nights], "lists of runs outlive them"
        # Each night brought a query one document; what only nights before these ranked is gone.
        assert _all(pipeline, "SELECT count(*) FROM pair_score") == [
            SIZES.queries * (len(kept) + SIZES.places - 1)
        ]
        lost = (
            "SELECT count(*) FROM ranking r JOIN job_query q USING (job_id, query_no)"
            " CROSS JOIN unnest(r.content_ids) d WHERE NOT EXISTS (SELECT FROM pair_score p"
            " WHERE p.query_id = q.content_id AND p.document_id = d)"
        )
        assert _all(pipeline, lost) == [0]


def _all(pipeline: Pipeline, statement: str) -> list[object]:
    with pipeline.database.begin() as connection:
        return list(connection.execute(text(statement)).scalars())
