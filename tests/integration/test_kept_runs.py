"""What schedules refer to outlives its age: runs that are shown, held or running, and queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from repick.content import Content
from repick.jobs import JobState, Stage
from repick.retention import Retention
from repick.schedules import RunState
from repick.store import contents
from repick.store.retention import Ages
from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline

DAY = timedelta(days=1)
LATER = datetime.now(UTC) + 800 * DAY
"""When every job is past its age."""
AGES = Ages(jobs=30 * DAY, nightly=400 * DAY, scores=30 * DAY)
ASKED = {"q": "a standing query"}


def collect(pipeline: Pipeline) -> None:
    execute(pipeline, "UPDATE job SET finished_at = finished_at - interval '2 hours'")
    Retention(pipeline.database, pipeline.runtime.media, AGES).run(LATER)


def jobs(pipeline: Pipeline) -> set[UUID]:
    with pipeline.database.begin() as connection:
        return set(connection.execute(text("SELECT id FROM job")).scalars())


def execute(pipeline: Pipeline, statement: str, **bind: object) -> None:
    with pipeline.database.begin() as connection:
        connection.execute(text(statement), bind)


def test_the_latest_run_stays_and_earlier_ones_go(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words"})
    maker.stand(pipeline, ASKED)
    one = maker.schedule(pipeline)
    first, second = maker.run(pipeline, one), maker.run(pipeline, one)
    assert maker.shown(pipeline, one).latest_run == second.run_id
    assert jobs(pipeline) == {first.run_id, second.run_id}
    collect(pipeline)
    assert jobs(pipeline) == {second.run_id}
    assert len(pipeline.rankings(second.run_id)[0].hits) == 1


def test_a_held_run_stays_until_it_is_settled(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words"})
    maker.stand(pipeline, ASKED)
    one = maker.schedule(pipeline)
    held = maker.run(pipeline, one)
    latest = maker.run(pipeline, one)
    mark = (
        "UPDATE schedule_run SET state = CAST(:state AS run_state), published_at = CASE"
        " WHEN :state = 'published' THEN now() END WHERE run_id = :run"
    )
    execute(pipeline, mark, state=RunState.HELD, run=held.run_id)
    collect(pipeline)
    assert jobs(pipeline) == {held.run_id, latest.run_id}
    execute(pipeline, mark, state=RunState.PUBLISHED, run=held.run_id)
    collect(pipeline)
    assert jobs(pipeline) == {latest.run_id}


def test_a_running_run_stays_also_where_its_job_has_ended(pipeline: Pipeline) -> None:
    """Between a run's end and its settlement it is neither live nor the latest."""
    pipeline.put({"a": "words"})
    maker.stand(pipeline, ASKED)
    run_id = maker.begin(pipeline, maker.schedule(pipeline))
    pipeline.run(run_id, Stage.RETRIEVE)
    collect(pipeline)
    assert jobs(pipeline) == {run_id}
    assert pipeline.run(run_id).state is JobState.SUCCEEDED
    assert maker.run_of(pipeline, run_id).state is RunState.RUNNING
    collect(pipeline)
    assert jobs(pipeline) == {run_id}


def test_a_standing_querys_content_stays_without_a_job_and_goes_with_it(
    pipeline: Pipeline,
) -> None:
    maker.stand(pipeline, ASKED)
    with pipeline.database.begin() as connection:
        contents.put(connection, pipeline.tenant_id, [Content("asked by nobody")])
    assert jobs(pipeline) == set()
    assert _collected(pipeline) == ["a standing query"]
    execute(pipeline, "DELETE FROM standing_query")
    assert _collected(pipeline) == []


def _collected(pipeline: Pipeline) -> list[str]:
    """What texts are left when the grace of whatever is unused has passed."""
    collect(pipeline)
    execute(pipeline, "UPDATE unused_content SET since = since - interval '2 days'")
    collect(pipeline)
    with pipeline.database.begin() as connection:
        return list(connection.execute(text("SELECT text FROM content ORDER BY text")).scalars())
