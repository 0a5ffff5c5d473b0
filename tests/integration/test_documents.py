"""Jobs over documents sent along: from scoring to rankings, without a corpus or an encoder."""

from __future__ import annotations

import pytest

from repick.content import LoadedContent
from repick.jobs import JobState, Stage
from repick.store.slices import Dispatch
from tests.fakes import pair_score
from tests.integration.pipeline import Pipeline

TEXTS = {f"mine-{no}": f"a text with the number {no}" for no in range(12)}


def test_documents_sent_along_are_ranked_under_the_callers_ids(pipeline: Pipeline) -> None:
    job = pipeline.submit_documents(["one", "two"], TEXTS)
    assert pipeline.expect(job, JobState.QUEUED).started_at is None
    assert pipeline.runtime.published == [Dispatch(job, Stage.SCORE, "fine.fake-scorer", 3)]
    view = pipeline.run(job)
    assert (view.state, view.corpus_name, view.encoder) == (JobState.SUCCEEDED, None, None)
    assert view.started_at is not None
    assert (view.pairs_total, view.pairs_done) == (24, 24)
    for query, ranking in zip(["one", "two"], pipeline.rankings(job), strict=True):
        margins = {
            name: pair_score(LoadedContent(0, query), LoadedContent(0, text)).margin or 0
            for name, text in TEXTS.items()
        }
        order = [hit.external_id for hit in ranking.hits]
        assert order == sorted(margins, key=lambda name: -margins[name])
        assert (ranking.asked, ranking.found, ranking.search) == (12, 12, None)
        for hit in ranking.hits:
            place = int(hit.external_id.split("-")[1]) + 1
            assert (hit.coarse_rank, hit.coarse_score) == (place, pytest.approx(1 / place))


def test_a_job_starts_in_scoring_when_it_is_claimed(pipeline: Pipeline) -> None:
    job = pipeline.submit_documents(["one"], TEXTS)
    assert pipeline.claim(job, Stage.RETRIEVE) is None
    assert pipeline.claim(job, Stage.SCORE) is not None
    pipeline.expect(job, JobState.SCORING)


def test_documents_whose_pairs_are_known_go_to_ranking_at_once(pipeline: Pipeline) -> None:
    pipeline.run(pipeline.submit_documents(["one"], TEXTS))
    scored = len(pipeline.model.scored)
    job = pipeline.submit_documents(["one"], TEXTS)
    assert pipeline.runtime.published[-1].stage is Stage.RANK
    view = pipeline.run(job)
    assert view.state is JobState.SUCCEEDED
    assert (view.pairs_total, view.pairs_reused) == (12, 12)
    assert len(pipeline.model.scored) == scored


def test_documents_share_the_ledger_with_a_corpus(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    pipeline.run(pipeline.submit(["one"], k=12, top_n=12))
    view = pipeline.run(pipeline.submit_documents(["one"], TEXTS))
    assert view.pairs_reused == 12


def test_a_document_that_cannot_be_decoded_is_an_item_error(pipeline: Pipeline) -> None:
    job = pipeline.submit_documents(["one"], {"a": "words", "bad": None, "c": "other words"})
    view = pipeline.run(job)
    (ranking,) = pipeline.rankings(job)
    assert {hit.external_id for hit in ranking.hits} == {"a", "c"}
    assert ranking.errors == [{"id": "bad", "code": "decode_error", "retryable": False}]
    assert (view.pairs_total, ranking.found) == (2, 3)
    assert {"code": "item_errors", "items": 1} in view.warnings


def test_documents_none_of_which_can_be_decoded_fail_the_job(pipeline: Pipeline) -> None:
    view = pipeline.run(pipeline.submit_documents(["one"], {"a": None, "b": None}))
    assert view.state is JobState.FAILED
    assert view.error is not None
    assert view.error["code"] == "too_many_item_errors"


def test_equal_margins_and_scores_keep_the_callers_order(pipeline: Pipeline) -> None:
    job = pipeline.submit_documents(["one"], dict.fromkeys(("z", "a", "m"), "the same words"))
    pipeline.run(job)
    assert [hit.external_id for hit in pipeline.rankings(job)[0].hits] == ["z", "a", "m"]
