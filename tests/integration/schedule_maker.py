"""Makes schedules and standing queries in a pipeline's corpus, and runs what they begin."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from repick import nightly
from repick.content import Content
from repick.jobs import JobState
from repick.schedules import MissedPolicy, WindowPolicy
from repick.store import contents, runs, schedules, standing
from repick.store.runs import Run
from repick.store.schedules import Schedule
from repick.store.standing import NewQuery
from tests.fakes import SCORER
from tests.integration.pipeline import Pipeline


def stand(pipeline: Pipeline, texts: Mapping[str, str], *tags: str) -> None:
    """Put standing queries by their ids."""
    with pipeline.database.begin() as connection:
        ids = contents.put(connection, pipeline.tenant_id, [Content(t) for t in texts.values()])
        rows = [NewQuery(name, ids[Content(one).sha256], tags, {}) for name, one in texts.items()]
        standing.put(connection, pipeline.tenant_id, pipeline.corpus_id, rows)


def schedule(pipeline: Pipeline, **changes: Any) -> Schedule:
    values: dict[str, Any] = {
        "name": "nightly",
        "corpus_id": pipeline.corpus_id,
        "cron": "30 2 * * *",
        "time_zone": "Europe/Berlin",
        "missed": MissedPolicy.RUN,
        "after_until": WindowPolicy.PARTIAL,
        "scorer": SCORER.name,
        "k": 10,
        "top_n": 10,
    }
    with pipeline.database.begin() as connection:
        made = schedules.create(connection, pipeline.tenant_id, values | changes)
        assert made is not None
        found = schedules.by_id(connection, pipeline.tenant_id, made)
    assert found is not None
    return found


def shown(pipeline: Pipeline, one: Schedule) -> Schedule:
    with pipeline.database.begin() as connection:
        found = schedules.by_id(connection, one.tenant_id, one.id)
    assert found is not None
    return found


def runs_of(pipeline: Pipeline, one: Schedule) -> list[Run]:
    """The schedule's runs, the oldest first."""
    with pipeline.database.begin() as connection:
        return runs.of_schedule(connection, one.tenant_id, one.id, None, 1000)[::-1]


def run_of(pipeline: Pipeline, run_id: UUID) -> Run:
    with pipeline.database.begin() as connection:
        found = runs.by_id(connection, pipeline.tenant_id, run_id)
    assert found is not None
    return found


def begin(pipeline: Pipeline, one: Schedule) -> UUID:
    with pipeline.database.begin() as connection:
        return nightly.run_now(connection, pipeline.runtime.settings, one).run_id


def tick(pipeline: Pipeline, now: datetime | None = None) -> None:
    nightly.sweep(pipeline.database, pipeline.runtime.settings, now)


def run(pipeline: Pipeline, one: Schedule) -> Run:
    """Run now, to the end, and settled."""
    run_id = begin(pipeline, one)
    pipeline.run(run_id)
    pipeline.expect(run_id, JobState.SUCCEEDED)
    tick(pipeline)
    return run_of(pipeline, run_id)
