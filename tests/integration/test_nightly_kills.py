"""A run whose worker dies at 10, 50 and 90 %: as an undisturbed one, at most one batch again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from repick.jobs import JobState, Stage
from repick.store.database import Database
from tests.fakes import FakePair
from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline

DOCUMENTS = {f"d{no:02}": f"document {no}" for no in range(40)}
QUERIES = {f"q{no:02}": f"query {no}" for no in range(20)}
PAIRS = 10 * len(QUERIES)
BATCH = 3


class Killed(BaseException):
    """The worker is gone in the middle of a batch; nothing of it is caught on the way."""


@dataclass
class Mortal:
    """Lets a model die at its batch that reaches a number of pairs, once."""

    model: Any
    at: int
    died: bool = field(default=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def score(self, pairs: list[FakePair]) -> Any:
        scores = self.model.score(pairs)
        if not self.died and len(self.model.scored) >= self.at:
            self.died = True
            raise Killed
        return scores


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_killed_run_equals_an_undisturbed_one(pipeline: Pipeline, share: float) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    mortal = Mortal(pipeline.model, round(share * PAIRS))
    run_id = maker.begin(pipeline, one)
    pipeline.run(run_id, Stage.RETRIEVE)
    with pytest.raises(Killed):
        _score(pipeline, mortal, run_id)
    _expire(pipeline.database)
    pipeline.run(run_id)
    pipeline.expect(run_id, JobState.SUCCEEDED)
    again = len(pipeline.model.scored) - PAIRS
    assert 0 < again <= BATCH
    assert len(set(pipeline.model.scored)) == PAIRS
    undisturbed = maker.run(pipeline, one)
    assert undisturbed.figures["pairs_scored"] == 0
    assert _shown(pipeline, run_id) == _undisturbed(pipeline)


def _score(pipeline: Pipeline, model: Any, run_id: UUID) -> None:
    scorer = replace(pipeline.scorer, model=model)
    while held := pipeline.claim(run_id, Stage.SCORE):
        scorer.run(held)


def _expire(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(
            text("UPDATE slice SET lease_until = now() - interval '1 s' WHERE state = 'claimed'")
        )


def _undisturbed(pipeline: Pipeline) -> list[list[tuple[str, float | None]]]:
    """The same run of the same texts, in a database where nothing happened to it."""
    with pipeline.database.begin() as connection:
        for table in ("pair_score", "schedule", "standing_query", "item", "job"):
            connection.execute(text(f"DELETE FROM {table}"))
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    run = maker.run(pipeline, maker.schedule(pipeline))
    assert run.figures["pairs_scored"] == PAIRS
    return _shown(pipeline, run.run_id)


def _shown(pipeline: Pipeline, run_id: UUID) -> list[list[tuple[str, float | None]]]:
    return [
        [(hit.external_id, hit.margin) for hit in ranking.hits]
        for ranking in pipeline.rankings(run_id)
    ]
