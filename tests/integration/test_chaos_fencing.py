"""What the chaos harness sees of a late commit, with the check of tokens and without."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.chaos import commits
from benchmarks.chaos.worker import break_fencing
from repick.jobs import PairScore, Slice, Stage
from repick.store import ledger
from repick.store.slices import LeaseLost
from tests.integration.pipeline import Pipeline, expire

SCORE = PairScore(1.0, 0.5, 1.0, 0.0, (None,), ((1.0, 0.0),))


@pytest.fixture
def pipeline(pipeline: Pipeline) -> Pipeline:
    with pipeline.database.begin() as connection:
        commits.create(connection)
    pipeline.put({"a": "words", "b": "other words"})
    return pipeline


def taken_over(pipeline: Pipeline) -> tuple[Slice, Slice]:
    """A slice as the one holds it who is late, and as the other does who has it now."""
    pipeline.run(job := pipeline.submit(["a query"]), Stage.RETRIEVE)
    late = pipeline.claim(job, Stage.SCORE)
    expire(pipeline)
    now = pipeline.claim(job, Stage.SCORE)
    assert late is not None
    assert now is not None
    return late, now


def commit(pipeline: Pipeline, held: Slice, folder: Path) -> None:
    with pipeline.database.begin() as connection:
        work = ledger.work(connection, held)
        scores = {work.pairs[0]: SCORE}
        provenance = pipeline.scorer.provenance_id
        commits.watched(ledger.commit_batch, folder)(
            connection, held, work, scores, {}, provenance, timedelta(seconds=30)
        )


def test_a_late_commit_is_refused_and_leaves_no_record(pipeline: Pipeline, tmp_path: Path) -> None:
    late, now = taken_over(pipeline)
    with pytest.raises(LeaseLost):
        commit(pipeline, late, tmp_path)
    commit(pipeline, now, tmp_path)
    with pipeline.database.begin() as connection:
        recorded = commits.recorded(connection)
    assert recorded == [commits.Commit(now.token, now.token)]
    assert commits.stale(recorded) == 0


def test_without_fencing_a_late_commit_passes_and_is_found(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, now = taken_over(pipeline)
    break_fencing(monkeypatch.setattr)
    commit(pipeline, late, tmp_path)
    commit(pipeline, now, tmp_path)
    with pipeline.database.begin() as connection:
        assert ledger.may_go_on(connection, late) is ledger.Verdict.GO_ON
        recorded = commits.recorded(connection)
    assert recorded == [
        commits.Commit(late.token, now.token),
        commits.Commit(now.token, now.token),
    ]
    assert commits.stale(recorded) == 1


def test_a_late_commit_waits_until_the_slice_is_anothers(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline.run(job := pipeline.submit(["a query"]), Stage.RETRIEVE)
    late = pipeline.claim(job, Stage.SCORE)
    assert late is not None
    commits.ask_for_late(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        committing = pool.submit(commit, pipeline, late, tmp_path)
        while not list(tmp_path.glob("waiting-*")):
            assert not committing.done()
        before = commits.overlaps(tmp_path)
        expire(pipeline)
        assert pipeline.claim(job, Stage.SCORE) is not None
        with pytest.raises(LeaseLost):
            committing.result()
    assert (before, commits.overlaps(tmp_path)) == (0, 1)
