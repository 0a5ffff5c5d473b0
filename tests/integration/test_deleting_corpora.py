"""A corpus is deleted at the worst moments of a schedule's life: one waits, and none is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from repick import nightly
from repick.store import corpora, runs, schedules, sources, spaces
from repick.store.database import Connection
from repick.store.schedules import Schedule
from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline


def _delete(pipeline: Pipeline, one: Schedule) -> None:
    """As the API deletes a corpus."""
    with pipeline.database.begin() as connection:
        found = corpora.held(connection, pipeline.tenant_id, one.corpus, to_delete=True)
        assert found is not None
        spaces.drop_of_corpus(connection, pipeline.tenant_id, found.id)
        corpora.remove(connection, pipeline.tenant_id, found.id)


def _delete_schedule(pipeline: Pipeline, one: Schedule) -> None:
    with pipeline.database.begin() as connection:
        schedules.remove(connection, pipeline.tenant_id, one.id)


def _tick(pipeline: Pipeline, connection: Connection) -> Any:
    return schedules.take_due(connection, schedules.clock(connection) + timedelta(days=9))


def _run_now(pipeline: Pipeline, connection: Connection) -> Any:
    return schedules.named(connection, pipeline.tenant_id, "nightly", to_change=True)


@pytest.mark.parametrize("lock", [_tick, _run_now])
def test_a_run_begins_before_its_corpus_is_deleted(
    lock: Callable[[Pipeline, Connection], Any], pipeline: Pipeline
) -> None:
    one = maker.schedule(pipeline)
    with pipeline.database.begin() as connection:
        now = schedules.clock(connection)
        schedules.change(connection, one.tenant_id, one.id, {"next_at": now})
    with ThreadPoolExecutor(1) as threads:
        with pipeline.database.begin() as connection:
            assert lock(pipeline, connection) is not None
            deleted = threads.submit(_delete, pipeline, one)
            _waits(pipeline)
            assert sources.corpus(connection, one.tenant_id, one.corpus) is not None
        deleted.result()


@pytest.mark.parametrize("delete", [_delete, _delete_schedule])
def test_a_run_is_settled_before_its_corpus_or_schedule_is_deleted(
    delete: Callable[[Pipeline, Schedule], None], pipeline: Pipeline
) -> None:
    pipeline.put({"red": "a red square"})
    maker.stand(pipeline, {"q": "red"})
    one = maker.schedule(pipeline)
    run_id = maker.begin(pipeline, one)
    pipeline.run(run_id)
    with ThreadPoolExecutor(1) as threads:
        with pipeline.database.begin() as connection:
            run = runs.take_ended(connection)
            assert run is not None
            deleted = threads.submit(delete, pipeline, one)
            _waits(pipeline)
            nightly.settle(connection, run)
        deleted.result()


def _waits(pipeline: Pipeline) -> None:
    """Until somebody waits for a lock that we hold."""
    deadline = time.monotonic() + 20
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock'"
    )
    while True:
        with pipeline.database.begin() as connection:
            if connection.execute(waiting).scalar_one():
                return
        assert time.monotonic() < deadline
        time.sleep(0.01)
