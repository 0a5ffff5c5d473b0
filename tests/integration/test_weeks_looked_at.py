"""What a job's path asks of tables in weeks is answered by the job's own week alone.

Else a claim of today looks through the year: the planner passes over a week only where a value that
it is given, not one that it joins with, says that nothing in it can match.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import event, text

from repick.store import driver
from tests.integration.pipeline import Pipeline

IN_WEEKS = ("job", "job_query", "slice", "candidate", "ranking")
_WEEK = re.compile(rf"({'|'.join(IN_WEEKS)})_p(\d{{8}}|_default)")

Asked = list[tuple[str, Any]]


@pytest.fixture
def asked(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Every statement that is sent, with its values."""
    found: Asked = []

    def sent(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        found.append((statement, values))

    rows = driver.rows

    def by_driver(connection: Any, statement: str, values: Mapping[str, Any], *a: Any, **k: Any):
        found.append((statement, values))
        return rows(connection, statement, values, *a, **k)

    monkeypatch.setattr(driver, "rows", by_driver)
    event.listen(pipeline.database.engine, "before_cursor_execute", sent)
    yield found
    event.remove(pipeline.database.engine, "before_cursor_execute", sent)


def weeks(pipeline: Pipeline, statement: str, values: Any) -> set[str]:
    """Of which weeks the statement's plan reads something; of many values, the first."""
    one = values[0] if isinstance(values, list) else values
    with pipeline.database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", one).scalar_one()
    return {week for _, week in _WEEK.findall(json.dumps(plan))}


def test_a_jobs_path_looks_at_its_own_week(pipeline: Pipeline, asked: Asked) -> None:
    pipeline.put({f"item-{no}": f"text {no}" for no in range(12)})
    with pipeline.database.read() as connection:
        there = connection.execute(
            text("SELECT count(*) FROM pg_inherits WHERE inhparent = 'job'::regclass")
        ).scalar_one()
    assert there > 2, "with one week there is nothing to pass over"
    asked.clear()
    job = pipeline.submit(["a query", "another"], k=8, top_n=4)
    pipeline.run(job)
    assert len(pipeline.rankings(job)) == 2
    path, several = list(asked), {}
    explained = 0
    for statement, values in path:
        if not re.match(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE)", statement):
            continue
        if not any(re.search(rf"\b{table}\b", statement) for table in IN_WEEKS):
            continue
        explained += 1
        if len(found := weeks(pipeline, statement, values)) > 1:
            several[statement] = found
    assert explained > 20
    assert not several
