"""One job from submit to rankings on a real database: states, ledger, leases, failures."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from queue import Queue

import pytest
from redis import Redis
from sqlalchemy import text

from repick.content import LoadedContent
from repick.jobs import JobKind, JobState, PairScore, Slice, Stage, bulk_queue
from repick.queue import make_app, publish_embedding
from repick.settings import Settings
from repick.store import endings, jobs, ledger, rankings, registry, slices, spaces, stages, waiting
from repick.store.slices import LeaseLost
from repick.sweep import Sweep
from tests.fakes import ENCODER, pair_score
from tests.integration.pipeline import Pipeline, expire
from worker import rank

TEXTS = {f"item-{n:02}": f"a text with the number {n}" for n in range(20)}


def expected(pipeline: Pipeline, query: str) -> list[str]:
    """All items by the fake scorer's margin, computed without the service."""
    margins = {
        name: pair_score(LoadedContent(0, query), LoadedContent(0, text)).margin
        for name, text in TEXTS.items()
    }
    return sorted(margins, key=lambda name: -(margins[name] or 0))


def test_job_ranks_every_candidate_by_its_margin(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    job = pipeline.submit(["first query", "second query", "third query"], k=20, top_n=20)
    view = pipeline.run(job)
    assert view.state is JobState.SUCCEEDED
    assert (view.pairs_total, view.pairs_done, view.pairs_reused) == (60, 60, 0)
    for no, query in enumerate(["first query", "second query", "third query"]):
        ranking = pipeline.rankings(job)[no]
        assert [hit.external_id for hit in ranking.hits] == expected(pipeline, query)
        assert sorted(hit.coarse_rank for hit in ranking.hits) == list(range(1, 21))


def test_second_job_over_the_same_pairs_scores_nothing_and_says_so(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    first = pipeline.submit(["a query"], k=20, top_n=5)
    pipeline.run(first)
    scored = len(pipeline.model.scored)
    second = pipeline.submit(["a query"], k=20, top_n=5)
    view = pipeline.run(second)
    assert len(pipeline.model.scored) == scored
    assert (view.pairs_total, view.pairs_done, view.pairs_reused) == (20, 20, 20)
    ours, theirs = pipeline.rankings(second)[0], pipeline.rankings(first)[0]
    assert ours.hits == theirs.hits
    assert len(ours.hits) == 5


def test_items_with_one_content_are_one_pair_and_two_hits(pipeline: Pipeline) -> None:
    pipeline.put({"a": "the same words", "b": "the same words", "c": "other words"})
    view = pipeline.run(job := pipeline.submit(["a query"], k=3, top_n=3))
    assert view.pairs_total == 2
    assert len(pipeline.model.scored) == 2
    assert {hit.external_id for hit in pipeline.rankings(job)[0].hits} == {"a", "b", "c"}


def test_empty_corpus_gives_an_empty_ranking_and_a_warning(pipeline: Pipeline) -> None:
    view = pipeline.run(job := pipeline.submit(["a query"]))
    assert view.state is JobState.SUCCEEDED
    assert {"code": "fewer_candidates", "queries": 1} in view.warnings
    assert (pipeline.rankings(job)[0].found, pipeline.rankings(job)[0].asked) == (0, 10)


def test_job_finds_the_items_that_were_put_just_before_it(pipeline: Pipeline) -> None:
    pipeline.put_unembedded(TEXTS)
    view = pipeline.run(job := pipeline.submit(["a query"], k=20, top_n=20))
    assert pipeline.rankings(job)[0].found == 20
    assert "items_pending" not in {warning["code"] for warning in view.warnings}


def test_items_of_a_backlog_are_a_warning(pipeline: Pipeline) -> None:
    pipeline.put_unembedded({f"item-{n}": f"text {n}" for n in range(300)})
    view = pipeline.run(job := pipeline.submit(["a query"]))
    assert {"code": "items_pending", "items": 300} in view.warnings
    assert pipeline.rankings(job)[0].found == 0


def test_unreadable_item_is_an_item_error_and_has_no_score(pipeline: Pipeline) -> None:
    pipeline.put({"good": "a text", "fine": "words", "bad": "unreadable text"})
    view = pipeline.run(job := pipeline.submit(["a query"]))
    ranking = pipeline.rankings(job)[0]
    assert view.state is JobState.SUCCEEDED
    assert view.pairs_failed == 1
    assert {hit.external_id for hit in ranking.hits} == {"good", "fine"}
    assert ranking.errors == [{"id": "bad", "code": "too_long", "retryable": False}]
    assert {"code": "item_errors", "items": 1} in view.warnings


def test_query_whose_candidates_mostly_fail_has_no_ranking(pipeline: Pipeline) -> None:
    pipeline.put({"one": "unreadable one", "two": "unreadable two", "three": "words"})
    view = pipeline.run(job := pipeline.submit(["a query"]))
    assert view.state is JobState.FAILED
    assert view.error is not None
    assert view.error["code"] == "too_many_item_errors"
    assert pipeline.rankings(job) == []


def test_changed_item_keeps_its_id_and_is_found_by_its_new_content(pipeline: Pipeline) -> None:
    (before,) = pipeline.put({"a": "old words"})
    (after,) = pipeline.put({"a": "new words"})
    assert before == after
    pipeline.run(job := pipeline.submit(["a query"]))
    hit = pipeline.rankings(job)[0].hits[0]
    margin = pair_score(LoadedContent(0, "a query"), LoadedContent(0, "new words")).margin
    assert hit.margin == pytest.approx(margin, abs=1e-12)
    assert pipeline.put({"a": "new words"}) == []


def test_instruction_makes_another_pair(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    pipeline.run(pipeline.submit(["a query"], k=20, top_n=20))
    job = pipeline.submit(["a query"], instruction="find the opposite", k=20, top_n=20)
    assert pipeline.run(job).pairs_reused == 0


def test_claim_finds_nothing_while_another_holds_the_slice(pipeline: Pipeline) -> None:
    job = pipeline.submit(["a query"])
    assert pipeline.claim(job, Stage.RETRIEVE) is not None
    assert pipeline.claim(job, Stage.RETRIEVE) is None
    pipeline.expect(job, JobState.RETRIEVING)


def test_commit_under_an_old_token_changes_nothing(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    pipeline.run(job := pipeline.submit(["a query"], k=20, top_n=20), Stage.RETRIEVE)
    dead = pipeline.claim(job, Stage.SCORE)
    assert dead is not None
    expire(pipeline)
    assert pipeline.claim(job, Stage.SCORE) is not None
    with pipeline.database.begin() as connection:
        work = ledger.work(connection, dead)
    false = PairScore(9.0, 1.0, 1.0, 0.0, (None,), ((9.0, 0.0),))
    with pytest.raises(LeaseLost), pipeline.database.begin() as connection:
        ledger.commit_batch(
            connection, dead, work, {work.pairs[0]: false}, {}, 1, timedelta(seconds=30)
        )
    with pipeline.database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM pair_score")).scalar() == 0
    with pytest.raises(LeaseLost):
        pipeline.runtime.close(dead)


def test_first_committed_score_wins(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words"})
    pipeline.run(job := pipeline.submit(["a query"]), Stage.RETRIEVE)
    held = pipeline.claim(job, Stage.SCORE)
    assert held is not None
    scorer = pipeline.scorer
    with pipeline.database.begin() as connection:
        work = ledger.work(connection, held)
    for margin in (1.0, 2.0):
        score = PairScore(margin, 0.5, 1.0, 0.0, (None,), ((margin, 0.0),))
        with pipeline.database.begin() as connection:
            ledger.insert_scores(
                connection, 1, work.scorer_id, {work.pairs[0]: score}, scorer.provenance_id
            )
    pipeline.runtime.close(held)
    pipeline.run(job, Stage.RANK)
    assert pipeline.rankings(job)[0].hits[0].margin == 1.0


def test_slice_goes_on_from_the_batches_that_were_committed(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    pipeline.run(job := pipeline.submit(["a query"], k=20, top_n=20), Stage.RETRIEVE)
    held = pipeline.claim(job, Stage.SCORE)
    assert held is not None
    commit_one_batch(pipeline, held)
    expire(pipeline)
    view = pipeline.run(job)
    assert view.state is JobState.SUCCEEDED
    assert (view.pairs_done, view.pairs_total) == (20, 20)
    assert len(pipeline.model.scored) == len(set(pipeline.model.scored)) == 20


def commit_one_batch(pipeline: Pipeline, held: Slice) -> None:
    scorer = pipeline.scorer
    with pipeline.database.begin() as connection:
        work = ledger.work(connection, held)
    ready = next(scorer._prepared(held, work))
    scorer._commit(held, work, scorer._submit(held, work, ready))


def test_error_after_a_committed_batch_is_the_first_of_three(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    pipeline.run(job := pipeline.submit(["a query"], k=20, top_n=20), Stage.RETRIEVE)
    for _ in range(2):
        assert pipeline.claim(job, Stage.SCORE) is not None
        expire(pipeline)
    held = pipeline.claim(job, Stage.SCORE)
    assert held is not None
    assert held.attempts == 3
    commit_one_batch(pipeline, held)
    with pipeline.database.begin() as connection:
        assert slices.release(connection, held, "transient") is False
    assert pipeline.run(job).state is JobState.SUCCEEDED


def test_pair_that_breaks_its_batch_fails_alone_in_the_end(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "breaks", "c": "other words"})
    view = pipeline.run(job := pipeline.submit(["a query"]))
    ranking = pipeline.rankings(job)[0]
    assert view.state is JobState.SUCCEEDED
    assert {hit.external_id for hit in ranking.hits} == {"a", "c"}
    assert ranking.errors == [{"id": "b", "code": "scoring_error", "retryable": True}]


def test_batch_holds_its_lease_for_as_long_as_the_line_moves(pipeline: Pipeline) -> None:
    runtime = replace(pipeline.runtime, settings=Settings(batch_deadline_s=0.2, lease_margin_s=0.1))
    gates = [threading.Event() for _ in range(3)]
    before = [runtime.device.submit(gate.wait) for gate in gates]
    holds: Queue[int] = Queue()
    work = runtime.device.submit(lambda: "done")
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(runtime.result_of, work, lambda _: holds.put(runtime.device.batches))
        try:
            assert holds.get(timeout=20) == 0
            for no, gate in enumerate(gates[:2], start=1):
                gate.set()
                assert holds.get(timeout=20) == no
        finally:
            for gate in gates:
                gate.set()
        assert result.result(timeout=20) == "done"
    assert all(one.done() for one in before)


class EndsAfterTheTimeout(Future[str]):
    """Is done between the moment at which a wait for it times out and the next look at it."""

    def result(self, timeout: float | None = None) -> str:
        if timeout is None:
            return super().result()
        self.set_result("done")
        raise TimeoutError


def test_batch_that_ends_as_the_wait_for_it_times_out_keeps_its_result(pipeline: Pipeline) -> None:
    work = EndsAfterTheTimeout()
    work.set_running_or_notify_cancel()
    assert pipeline.runtime.result_of(work, lambda _: None) == "done"


def test_job_is_left_to_a_worker_that_serves_its_model(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    job = pipeline.submit(["a query"])
    assert pipeline.claim(job, Stage.RETRIEVE, models=[999]) is None
    pipeline.run(job, Stage.RETRIEVE)
    assert pipeline.claim(job, Stage.SCORE, models=[999]) is None
    assert pipeline.claim(job, Stage.SCORE, models=list(pipeline.scorer_ids.values())) is not None


def test_job_whose_model_nobody_serves_says_so(pipeline: Pipeline) -> None:
    job = pipeline.submit(["a query"])
    with pipeline.database.begin() as connection:
        connection.execute(text("UPDATE job SET created_at = now() - interval '1 hour'"))
        registry.encoders_served(connection, [1])
        connection.execute(text("UPDATE scorer SET seen_at = now() - interval '1 hour'"))
        for _ in range(2):
            stages.warn_unserved(connection, timedelta(minutes=2))
    (warning,) = pipeline.view(job).warnings
    assert warning == {
        "code": "model_not_served",
        "model": "fake-scorer:choice",
        "queue": "fine.fake-scorer",
    }


def test_cancelled_job_starts_no_batch_and_writes_no_ranking(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    pipeline.run(job := pipeline.submit(["a query"], k=20, top_n=20), Stage.RETRIEVE)
    held = pipeline.claim(job, Stage.SCORE)
    assert held is not None
    with pipeline.database.begin() as connection:
        assert jobs.cancel(connection, pipeline.tenant_id, job)
    assert pipeline.scorer.run(held) is False
    assert pipeline.model.scored == []
    view = pipeline.run(job)
    assert view.state is JobState.CANCELLED
    assert pipeline.rankings(job) == []
    with pipeline.database.begin() as connection:
        assert not jobs.cancel(connection, pipeline.tenant_id, job)


def test_ranking_is_not_written_after_the_cancel(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    job = pipeline.submit(["a query"])
    pipeline.run(job, Stage.RETRIEVE, Stage.SCORE)
    held = pipeline.claim(job, Stage.RANK)
    assert held is not None
    with pipeline.database.begin() as connection:
        ask = rankings.ask(connection, job)
        jobs.cancel(connection, pipeline.tenant_id, job)
    with pipeline.database.begin() as connection:
        rankings.rank(connection, held, [0], ask)
    assert pipeline.rankings(job) == []


def test_rankings_of_one_job_are_written_by_several_workers_at_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the end of a slice takes the job's row for itself."""
    monkeypatch.setattr(rank, "TOGETHER", 1)
    pipeline.put(TEXTS)
    job = pipeline.submit(["one query", "another"])
    pipeline.run(job, Stage.RETRIEVE, Stage.SCORE)
    held = pipeline.claim(job, Stage.RANK)
    assert held is not None
    with ThreadPoolExecutor(1) as pool:
        with pipeline.database.begin() as other:
            other.execute(text("SELECT FROM job WHERE id = :job FOR SHARE"), {"job": job})
            ranked = pool.submit(rank.rank_slice, pipeline.runtime, held)
            deadline = time.monotonic() + 10
            while not (written := pipeline.rankings(job)) and time.monotonic() < deadline:
                time.sleep(0.01)
        ranked.result(timeout=10)
    assert [one.query_no for one in written] == [0]
    assert len(pipeline.rankings(job)) == 2
    pipeline.expect(job, JobState.SUCCEEDED)


def test_slice_that_loses_three_workers_fails_its_job_with_the_reason(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    pipeline.run(job := pipeline.submit(["a query"], k=20, top_n=20), Stage.RETRIEVE)
    for _ in range(3):
        assert pipeline.claim(job, Stage.SCORE) is not None
        expire(pipeline)
    held = pipeline.claim(job, Stage.SCORE)
    assert held is not None
    assert held.no == 1
    with pipeline.database.begin() as connection:
        slices.release(connection, held)
        ended = slices.lost(connection)
        assert ended is not None
        assert ended.no == 0
        stages.close_failed(connection, ended, 8)
        assert slices.lost(connection) is None
    view = pipeline.run(job)
    assert view.state is JobState.FAILED
    assert view.error is not None
    assert (view.error["code"], view.error["reason"]) == ("scoring_failed", "worker_lost")
    assert view.pairs_failed == 8


def test_partial_job_says_which_query_has_no_ranking(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    job = pipeline.submit(["one", "two", "three"], k=5, top_n=5)
    for _ in range(3):
        assert pipeline.claim(job, Stage.RETRIEVE) is not None
        expire(pipeline)
    pipeline.run(job, Stage.RETRIEVE)
    with pipeline.database.begin() as connection:
        ended = slices.lost(connection)
        assert ended is not None
        stages.close_failed(connection, ended, 8)
    view = pipeline.run(job)
    assert view.state is JobState.PARTIAL
    assert [ranking.query_no for ranking in pipeline.rankings(job)] == [2]
    with pipeline.database.begin() as connection:
        errors = rankings.query_errors(connection, pipeline.tenant_id, job)
    assert [(one.query_no, one.error["code"]) for one in errors] == [
        (0, "retrieval_failed"),
        (1, "retrieval_failed"),
    ]


def test_slices_are_lost_one_by_one_whatever_plan_postgres_chooses(pipeline: Pipeline) -> None:
    """Each is counted down by itself: a job with one that is not would never end."""
    pipeline.submit([f"query {no}" for no in range(6)])
    died = (
        "UPDATE slice SET state = 'claimed', token = gen_random_uuid(), attempts = 3,"
        " lease_until = now() - interval '1 s'"
    )
    with pipeline.database.begin() as connection:
        connection.execute(text(died))
    with pipeline.database.begin() as connection:
        for way in ("hashagg", "sort", "hashjoin", "mergejoin", "material"):
            connection.execute(text(f"SET LOCAL enable_{way} = off"))
        assert slices.lost(connection) is not None
        failed = text("SELECT count(*) FROM slice WHERE state = 'failed'")
        assert connection.execute(failed).scalar_one() == 1


def test_bulk_slice_gives_way_to_interactive_work(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    bulk = pipeline.submit(["bulk query"], k=20, top_n=20, kind=JobKind.BATCH)
    pipeline.run(bulk, Stage.RETRIEVE)
    held = pipeline.claim(bulk, Stage.SCORE)
    assert held is not None
    urgent = pipeline.submit(["urgent query"])
    pipeline.run(urgent, Stage.RETRIEVE)
    assert pipeline.scorer.run(held) is False
    assert pipeline.run(urgent).state is JobState.SUCCEEDED
    assert pipeline.run(bulk).state is JobState.SUCCEEDED


def test_bulk_slice_gives_way_to_no_interactive_work_that_nobody_serves(pipeline: Pipeline) -> None:
    """As when a model's weights are replaced: its old scorers have the same queue."""
    pipeline.put(TEXTS)
    spec = replace(pipeline.model.specs[0], weights_sha256="0" * 64)
    with pipeline.database.begin() as connection:
        old = registry.register_scorer(connection, spec)
        silent = "UPDATE scorer SET seen_at = now() - interval '1 hour' WHERE id = :old"
        connection.execute(text(silent), {"old": old})
    urgent = pipeline.submit(["urgent query"], scorer_id=old)
    pipeline.run(urgent, Stage.RETRIEVE)
    bulk = pipeline.submit(["bulk query"], kind=JobKind.BATCH)
    pipeline.run(bulk, Stage.RETRIEVE)
    while held := pipeline.claim(bulk, Stage.SCORE):
        assert pipeline.scorer.run(held) is True
    assert pipeline.run(bulk).state is JobState.SUCCEEDED
    assert pipeline.view(urgent).state is JobState.SCORING


def test_sweep_publishes_what_waits_and_doubles_the_pause(
    pipeline: Pipeline, broker_url: str
) -> None:
    app = make_app(broker_url)
    sweep = Sweep(pipeline.runtime.settings, pipeline.database, app)
    pipeline.submit(["a query"])
    assert sweep.tick() == 1  # its queue is empty, so it is published at once
    assert sweep.tick() == 0  # now a message waits there
    with pipeline.database.begin() as connection:
        connection.execute(text("UPDATE slice SET publish_at = now()"))
    assert sweep.tick() == 0  # no more messages than slices
    with Redis.from_url(broker_url) as broker:
        broker.flushall()
    assert sweep.tick() == 1
    with pipeline.database.begin() as connection:
        pause = connection.execute(text("SELECT publish_at - now() FROM slice")).scalar_one()
    assert timedelta(seconds=15) < pause <= timedelta(seconds=20)
    app.close()


def test_messages_of_items_to_embed_are_not_taken_for_those_of_slices(
    pipeline: Pipeline, broker_url: str
) -> None:
    """They go round for hours: a run whose slices nobody published would wait as long."""
    app = make_app(broker_url)
    sweep = Sweep(pipeline.runtime.settings, pipeline.database, app)
    pipeline.put_unembedded(TEXTS)
    publish_embedding(app, pipeline.space_id, ENCODER.queue, 4)
    job = pipeline.submit(["a query"], kind=JobKind.NIGHTLY)
    with pipeline.database.begin() as connection:
        connection.execute(text("UPDATE slice SET publish_at = now()"))
    assert sweep.tick() == 1
    with Redis.from_url(broker_url, decode_responses=True) as broker:
        (last,) = broker.lrange(bulk_queue(ENCODER.queue), 0, 0)
    assert str(job) in json.loads(last)["headers"]["argsrepr"]
    assert sweep.tick() == 0  # its next time comes later
    app.close()


def test_slices_that_nobody_serves_leave_others_their_turn(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    for no in range(3):
        pipeline.submit([f"query {no}"])
    served = pipeline.submit(["served query"])
    with pipeline.database.begin() as connection:
        connection.execute(text("UPDATE slice SET publish_at = now() - interval '1 hour'"))
        theirs = "UPDATE slice SET queue = 'nobody', publish_at = publish_at - interval '1 hour'"
        connection.execute(text(f"{theirs} WHERE job_id <> :job"), {"job": served})
        waited_for = waiting.queues_waited_for(connection)
        assert waited_for.pop("nobody") == 3
        due = waiting.due(connection, empty_queues=[], full_queues=["nobody"], limit=2)
    assert [(one.job_id, one.queue) for one in due] == [(served, *waited_for)]


def test_an_orphan_is_published_at_once_where_no_message_is_left_however_often_it_was_before(
    pipeline: Pipeline,
) -> None:
    """Else one that was published many times would wait for minutes after its worker's death."""
    pipeline.put(TEXTS)
    pipeline.run(job := pipeline.submit(["a query"], k=2, top_n=2), Stage.RETRIEVE)
    held = pipeline.claim(job, Stage.SCORE)
    assert held is not None
    expire(pipeline)
    with pipeline.database.begin() as connection:
        connection.execute(text("UPDATE slice SET publish_at = now() + interval '5 min'"))
        [queue] = waiting.queues_waited_for(connection)
        assert waiting.due(connection, empty_queues=[]) == []
        assert [one.job_id for one in waiting.due(connection, empty_queues=[queue])] == [job]


def test_pair_whose_figures_are_not_finite_fails_alone(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "other words", "c": "not finite"})
    view = pipeline.run(job := pipeline.submit(["a query"]))
    ranking = pipeline.rankings(job)[0]
    assert view.state is JobState.SUCCEEDED
    assert {hit.external_id for hit in ranking.hits} == {"a", "b"}
    assert ranking.errors == [{"id": "c", "code": "not_finite", "retryable": False}]


def test_item_without_a_vector_fails_alone(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "no direction", "c": "other words"})
    with pipeline.database.begin() as connection:
        space = spaces.by_id(connection, pipeline.space_id)
        assert space is not None
        filling = spaces.filling(connection, space)
    assert (filling.embedded, filling.failed) == (2, {"not_finite": 1})


def test_candidates_of_a_cancelled_job_go(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    job = pipeline.submit(["a query"])
    pipeline.run(job, Stage.RETRIEVE)
    with pipeline.database.begin() as connection:
        jobs.cancel(connection, pipeline.tenant_id, job)
        assert endings.clear_ended(connection) == 0  # a worker may still look at them
        later = "UPDATE job SET finished_at = now() - interval '2 minutes'"
        connection.execute(text(later))
        assert endings.clear_ended(connection) == 10
