"""What a job may ask for besides: blend, least score, length policy, time limit."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import mean, pstdev
from uuid import UUID

import pytest
from celery import Celery
from sqlalchemy import text

from repick.jobs import JobState, Stage
from repick.specs import LengthPolicy
from repick.store import endings, rankings, registry, slices, stages
from repick.store.database import Database
from repick.sweep import Sweep
from tests.fakes import SCORER
from tests.integration.pipeline import Pipeline

TEXTS = {f"item-{n:02}": f"a text with the number {n}" for n in range(20)}
HOUR = timedelta(hours=1)


def test_a_blend_orders_by_standardised_cosine_and_margin(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    plain = pipeline.submit(["a query"], k=20, top_n=20)
    pipeline.run(plain)
    hits = pipeline.rankings(plain)[0].hits
    key = dict.fromkeys((hit.external_id for hit in hits), 0.0)
    for share, values in (
        (0.7, [hit.coarse_score or 0 for hit in hits]),
        (0.3, [hit.margin or 0 for hit in hits]),
    ):
        for hit, value in zip(hits, values, strict=True):
            key[hit.external_id] += share * (value - mean(values)) / pstdev(values)
    view = pipeline.run(blended := pipeline.submit(["a query"], k=20, top_n=5, blend=0.7))
    (ranking,) = pipeline.rankings(blended)
    assert [hit.external_id for hit in ranking.hits] == sorted(key, key=lambda name: -key[name])[:5]
    assert (view.blend, ranking.blend, pipeline.rankings(plain)[0].blend) == (0.7, 0.7, 0.0)


def test_hits_under_the_least_score_are_left_out(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    pipeline.run(plain := pipeline.submit(["a query"], k=20, top_n=20))
    scores = {hit.external_id: hit.score for hit in pipeline.rankings(plain)[0].hits}
    pipeline.run(job := pipeline.submit(["a query"], k=20, top_n=20, min_score=0.6))
    (ranking,) = pipeline.rankings(job)
    assert [hit.external_id for hit in ranking.hits] == [n for n, s in scores.items() if s >= 0.6]
    assert 0 < len(ranking.hits) < 20
    assert (ranking.found, ranking.min_score) == (20, 0.6)


def test_a_document_that_was_cut_is_ranked_and_says_so(pipeline: Pipeline) -> None:
    cutting = replace(SCORER, length_policy=LengthPolicy.TRUNCATE)
    pipeline.model.specs = (SCORER, cutting)
    with pipeline.database.begin() as connection:
        scorer_id = registry.register_scorer(connection, cutting)
    pipeline.put({"a": "words", "b": "endless words", "c": "other words"})
    refused = pipeline.run(pipeline.submit(["a query"]))
    assert {"code": "item_errors", "items": 1} in refused.warnings
    view = pipeline.run(job := pipeline.submit(["a query"], scorer_id=scorer_id))
    (ranking,) = pipeline.rankings(job)
    assert {hit.external_id: hit.cut_tokens for hit in ranking.hits} == {"a": 0, "b": 7, "c": 0}
    assert {"code": "truncated", "items": 1} in view.warnings
    assert view.length_policy is LengthPolicy.TRUNCATE
    assert view.pairs_reused == 0


def pass_deadline(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("UPDATE job SET deadline = now() - interval '1 s'"))


def end_late(pipeline: Pipeline) -> list[UUID]:
    with pipeline.database.begin() as connection:
        return endings.end_late(connection)


def test_a_job_that_passes_its_time_limit_fails_with_the_reason(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    job = pipeline.submit(["a query"], time_limit=HOUR)
    other = pipeline.submit(["a query"])
    assert end_late(pipeline) == []
    with pipeline.database.begin() as connection:
        sql = text("UPDATE job SET deadline = now() WHERE id = :job")
        connection.execute(sql, {"job": job})
    assert end_late(pipeline) == [job]
    view = pipeline.expect(job, JobState.FAILED)
    assert view.error is not None
    assert view.error["code"] == "time_limit"
    assert {"code": "time_limit", "queries": 1} in view.warnings
    assert pipeline.claim(job, Stage.RETRIEVE) is None
    pipeline.expect(other, JobState.QUEUED)


def test_rankings_from_before_the_time_limit_stay_readable(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    job = pipeline.submit(["one", "two"], time_limit=HOUR)
    pipeline.run(job, Stage.RETRIEVE, Stage.SCORE)
    held = pipeline.claim(job, Stage.RANK)
    assert held is not None
    with pipeline.database.begin() as connection:
        ask = rankings.ask(connection, job)
        rankings.rank(connection, held, [0], ask)
    pass_deadline(pipeline.database)
    assert end_late(pipeline) == [job]
    view = pipeline.expect(job, JobState.PARTIAL)
    assert {"code": "time_limit", "queries": 1} in view.warnings
    with pipeline.database.begin() as connection:  # the worker does not know yet
        slices.renew(connection, held, HOUR)
        rankings.rank(connection, held, [1], ask)
    pipeline.runtime.close(held)
    assert pipeline.view(job) == view
    assert [one.query_no for one in pipeline.rankings(job)] == [0]
    with pipeline.database.begin() as connection:
        (error,) = rankings.query_errors(connection, pipeline.tenant_id, job)
    assert (error.query_no, error.error["code"]) == (1, "time_limit")


def test_a_job_all_of_whose_rankings_are_written_has_succeeded_in_time(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    job = pipeline.submit(["one"], time_limit=HOUR)
    pipeline.run(job, Stage.RETRIEVE, Stage.SCORE)
    held = pipeline.claim(job, Stage.RANK)
    assert held is not None
    with pipeline.database.begin() as connection:
        rankings.rank(connection, held, [0], rankings.ask(connection, job))
    pass_deadline(pipeline.database)
    assert end_late(pipeline) == [job]
    assert pipeline.expect(job, JobState.SUCCEEDED).warnings == []


def test_candidates_of_a_job_that_was_too_late_go(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    pipeline.run(pipeline.submit(["a query"], time_limit=HOUR), Stage.RETRIEVE)
    pass_deadline(pipeline.database)
    end_late(pipeline)
    with pipeline.database.begin() as connection:
        assert endings.clear_ended(connection) == 0  # a worker may still look at them
        connection.execute(text("UPDATE job SET finished_at = now() - interval '2 minutes'"))
        assert endings.clear_ended(connection) == 10


def test_a_job_that_is_too_late_while_a_worker_commits_is_ended_behind_it(
    pipeline: Pipeline,
) -> None:
    """Each has what the other wants where they lock a job and its queries in two orders."""
    job = pipeline.submit(["a query"], time_limit=HOUR)
    held = pipeline.claim(job, Stage.RETRIEVE)
    assert held is not None
    pass_deadline(pipeline.database)
    searched = text("UPDATE job_query SET search = 'exact' WHERE job_id = :job")
    with ThreadPoolExecutor(1) as pool:
        with pipeline.database.begin() as connection:
            slices.renew(connection, held, HOUR)
            connection.execute(searched, {"job": job})
            ending = pool.submit(end_late, pipeline)
            wait_for_a_lock(pipeline.database)
            stages.close(connection, held, 8)
        assert ending.result(timeout=20) == [job]
    view = pipeline.expect(job, JobState.FAILED)
    assert view.error is not None
    assert view.error["code"] == "time_limit"


def test_a_job_that_is_committed_to_for_long_keeps_no_other_from_its_time_limit(
    pipeline: Pipeline,
) -> None:
    """The numbering of a large job's pairs holds its slice for minutes."""
    large, small = (pipeline.submit([one], time_limit=HOUR) for one in ("a query", "another"))
    held = pipeline.claim(large, Stage.RETRIEVE)
    assert held is not None
    pass_deadline(pipeline.database)
    with pipeline.database.begin() as connection:
        slices.renew(connection, held, HOUR)
        assert end_late(pipeline) == [small]
    assert end_late(pipeline) == [large]


def wait_for_a_lock(database: Database) -> None:
    """Until somebody waits for a lock in this database."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 20
    with database.read() as connection:
        while not connection.execute(waiting).scalar_one():
            assert time.monotonic() < deadline


def test_the_sweep_ends_what_is_too_late(pipeline: Pipeline, tmp_path: Path) -> None:
    job = pipeline.submit(["a query"], time_limit=HOUR)
    pass_deadline(pipeline.database)
    Sweep(pipeline.runtime.settings, pipeline.database, Celery()).tick()
    pipeline.expect(job, JobState.FAILED)


@pytest.mark.parametrize("column", ["blend", "min_score"])
def test_a_share_is_between_none_and_all(pipeline: Pipeline, column: str) -> None:
    with pytest.raises(Exception, match=f"ck_job_{column}"):
        pipeline.submit(["a query"], **{column: 1.5})
