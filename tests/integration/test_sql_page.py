"""What docs/sql.md tells people to ask Postgres, asked as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import Row, text

from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"


def test_statements_of_the_page_give_the_latest_ranking_and_the_churn(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    maker.stand(pipeline, {"q17": "a query", "other": "another query"})
    one = maker.schedule(pipeline, name="nightly")
    maker.run(pipeline, one)
    pipeline.put({"a": "changed words", "c": "a query of words"})
    newest = maker.run(pipeline, one)
    latest, churn = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert (pipeline.tenant_id, one.id) == (1, 1), "the page's own numbers"
    shown = {row.query_no: row for row in pipeline.rankings(newest.run_id)}
    expected = [(hit.rank, hit.external_id, hit.score) for hit in shown[1].hits]
    assert [tuple(row) for row in _rows(pipeline, latest)] == expected
    assert len(expected) == 3
    assert [(row.tick, row.churn) for row in _rows(pipeline, churn)] == [(newest.tick, 1 / 3)]


def _rows(pipeline: Pipeline, statement: str) -> list[Row[Any]]:
    with pipeline.database.begin() as connection:
        return list(connection.execute(text(statement)))
