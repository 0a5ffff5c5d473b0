"""A run of a great many pairs: what one statement does for all of them, and what it must not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from repick.jobs import JobState, Slice, Stage
from repick.store.database import Database
from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline, open_pipeline
from worker.rank import rank_slice

OLD = datetime.now(UTC) - timedelta(days=10)


@pytest.fixture
def hasty(database_url: str, tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline whose connections give a statement one second."""
    database = Database(database_url, statement_timeout_s=1)
    with open_pipeline(database, tmp_path) as pipeline:
        yield pipeline
    database.close()


def dawdle(pipeline: Pipeline, what: str) -> None:
    """Each such statement on candidates takes longer than a statement may."""
    with pipeline.database.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_sleep(1.2); RETURN NULL; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE TRIGGER slow AFTER {what} ON candidate"
                " FOR EACH STATEMENT EXECUTE FUNCTION dawdle()"
            )
        )


@pytest.mark.parametrize("what", ["UPDATE", "DELETE"])
def test_numbering_and_clearing_candidates_may_take_their_time(hasty: Pipeline, what: str) -> None:
    """Of 100,000 queries' candidates they take minutes: cut off they would never be done."""
    dawdle(hasty, what)
    hasty.put({"a": "words", "b": "other words"})
    maker.stand(hasty, {"q": "a query"})
    run_id = maker.begin(hasty, maker.schedule(hasty))
    for stage, work in _stages(hasty):
        held = hasty.claim(run_id, stage)
        assert held is not None
        work(held)
    hasty.expect(run_id, JobState.SUCCEEDED)
    assert len(hasty.rankings(run_id)[0].hits) == 2


def test_a_statement_that_takes_too_long_every_time_ends_its_slice(hasty: Pipeline) -> None:
    dawdle(hasty, "INSERT")
    hasty.put({"a": "words", "b": "other words"})
    job = hasty.submit(["a query"])
    for attempt in (1, 2, 3):
        held = hasty.claim(job, Stage.RETRIEVE)
        assert held is not None
        assert held.attempts == attempt
        with hasty.runtime.holding(held):
            hasty.retriever.run(held)
    view = hasty.run(job)
    assert view.state is JobState.FAILED
    assert view.error is not None
    assert (view.error["code"], view.error["reason"]) == ("retrieval_failed", "statement_timeout")


def _stages(pipeline: Pipeline) -> Iterator[tuple[Stage, Callable[[Slice], object]]]:
    """Each has one slice, and an error of it is the test's: nothing is claimed again."""
    yield Stage.RETRIEVE, pipeline.retriever.run
    yield Stage.SCORE, pipeline.scorer.run
    yield Stage.RANK, lambda held: rank_slice(pipeline.runtime, held)


def test_reused_pairs_are_noted_as_used_by_the_rankings_not_all_at_once(
    pipeline: Pipeline,
) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    maker.stand(pipeline, {"q": "a query", "r": "another query"})
    one = maker.schedule(pipeline)
    maker.run(pipeline, one)
    with pipeline.database.begin() as connection:
        connection.execute(text("UPDATE pair_score SET last_used_at = :old"), {"old": OLD})
    run_id = maker.begin(pipeline, one)
    pipeline.run(run_id, Stage.RETRIEVE, Stage.SCORE)
    assert _last_used(pipeline) == {OLD}
    pipeline.run(run_id, Stage.RANK)
    assert all(used > OLD + timedelta(days=9) for used in _last_used(pipeline))


def test_nightly_use_of_a_pair_is_noted_once_a_week(pipeline: Pipeline) -> None:
    """Or every night would write the whole ledger of its pairs anew."""
    pipeline.put({"a": "words"})
    maker.stand(pipeline, {"q": "a query"})
    one = maker.schedule(pipeline)
    maker.run(pipeline, one)
    noted = OLD + timedelta(days=4)
    with pipeline.database.begin() as connection:
        connection.execute(text("UPDATE pair_score SET last_used_at = :noted"), {"noted": noted})
    maker.run(pipeline, one)
    assert _last_used(pipeline) == {noted}


def _last_used(pipeline: Pipeline) -> set[datetime]:
    with pipeline.database.begin() as connection:
        return set(connection.execute(text("SELECT last_used_at FROM pair_score")).scalars())
