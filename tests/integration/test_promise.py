"""The submit in one statement, beside others that store and delete the same contents."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import pytest
import uuid_utils
from sqlalchemy import text

from repick.content import Content
from repick.jobs import JobKind, JobState
from repick.store import contents, promise
from repick.store.database import Database
from repick.store.jobs import AlreadyStored, NewJob
from tests.integration.pipeline import Pipeline

WORDS = Content("words that nobody has asked before")
OTHERS = Content("other words")


def new_job(pipeline: Pipeline, job_id: UUID | None = None) -> NewJob:
    return NewJob(
        id=job_id or UUID(str(uuid_utils.uuid7())),
        tenant_id=pipeline.tenant_id,
        kind=JobKind.INTERACTIVE,
        corpus_id=None,
        corpus_name="shapes",
        space_id=None,
        encoder_id=None,
        encoder_queue=None,
        scorer_id=next(iter(pipeline.scorer_ids.values())),
        k=1,
        top_n=1,
        query_content_ids=(),
        metadata={},
        queries_per_slice=2,
    )


def submit(database: Database, new: NewJob, queries: Sequence[Content] = (WORDS,)) -> UUID:
    """As the API does: the statement is a transaction of its own."""
    with database.statement() as connection:
        submitted = promise.submit(connection, new, queries)
    assert submitted is not None
    return submitted[0].id


def stored(pipeline: Pipeline) -> tuple[list[tuple[UUID, int, str]], int]:
    """Each job's queries with their texts, and how many contents there are."""
    with pipeline.database.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT q.job_id, q.query_no, c.text FROM job_query q JOIN content c"
                " ON c.tenant_id = q.tenant_id AND c.id = q.content_id ORDER BY 1, 2"
            )
        )
        count = connection.execute(text("SELECT count(*) FROM content")).scalar_one()
        return [tuple(row) for row in rows], count


def until_blocked(database: Database, waiting: Future[UUID]) -> None:
    """Until it waits for another transaction's lock."""
    statement = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND cardinality(pg_blocking_pids(pid)) > 0"
    )
    deadline = time.monotonic() + 20
    while True:
        with database.read() as connection:
            if connection.execute(statement).scalar_one():
                return
        assert not waiting.done(), "it did not wait"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("commits", [True, False])
def test_content_that_another_submit_stores_meanwhile(pipeline: Pipeline, commits: bool) -> None:
    """No snapshot of the statement that waited for it has it: the next try sees or makes it."""
    first, second = new_job(pipeline), new_job(pipeline)
    with ThreadPoolExecutor(1) as pool:
        with pipeline.database.engine.connect() as connection:
            assert promise.submit(connection, first, [OTHERS, WORDS]) is not None
            late = pool.submit(submit, pipeline.database, second, [WORDS, OTHERS])
            until_blocked(pipeline.database, late)
            (connection.commit if commits else connection.rollback)()
        assert late.result(20) == second.id
    mine = [(first.id, 0, OTHERS.text), (first.id, 1, WORDS.text)] if commits else []
    theirs = [(second.id, 0, WORDS.text), (second.id, 1, OTHERS.text)]
    assert stored(pipeline) == ([*mine, *theirs], 2)


def test_many_submits_of_the_same_new_contents_are_all_stored_on_one_content_each(
    pipeline: Pipeline,
) -> None:
    new = [new_job(pipeline) for _ in range(24)]
    with ThreadPoolExecutor(8) as pool:
        orders = [[WORDS, OTHERS], [OTHERS, WORDS]]
        asked = [pool.submit(submit, pipeline.database, one, orders[one.id.int % 2]) for one in new]
        assert {one.result(60) for one in asked} == {one.id for one in new}
    queries, count = stored(pipeline)
    assert (len(queries), count) == (2 * len(new), 2)


def test_content_that_is_deleted_meanwhile_is_stored_again(pipeline: Pipeline) -> None:
    with pipeline.database.begin() as connection:
        contents.put(connection, pipeline.tenant_id, [WORDS])
    new = new_job(pipeline)
    with ThreadPoolExecutor(1) as pool:
        with pipeline.database.engine.connect() as connection:
            connection.execute(text("DELETE FROM content"))
            late = pool.submit(submit, pipeline.database, new)
            until_blocked(pipeline.database, late)
            connection.commit()
        assert late.result(20) == new.id
    assert stored(pipeline) == ([(new.id, 0, WORDS.text)], 1)
    assert pipeline.run(new.id).state is JobState.SUCCEEDED


def test_same_id_again_is_one_job_even_while_the_first_still_runs(pipeline: Pipeline) -> None:
    """What is done after a lost COMMIT: it waits for the first one, and finds it."""
    new = new_job(pipeline)
    with ThreadPoolExecutor(1) as pool:
        with pipeline.database.engine.connect() as connection:
            assert promise.submit(connection, new, [WORDS]) is not None
            again = pool.submit(submit, pipeline.database, new)
            until_blocked(pipeline.database, again)
            connection.commit()
        with pytest.raises(AlreadyStored):
            again.result(20)
    assert stored(pipeline) == ([(new.id, 0, WORDS.text)], 1)
