"""A score's audit: what the ledger and the registry know of a hit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from repick.content import Content, LoadedContent
from repick.specs import LengthPolicy, Readout, fingerprint
from repick.store import audits, registry
from repick.store.audits import Audit
from repick.wording import turns
from tests.fakes import SCORER, pair_score
from tests.integration.pipeline import Pipeline


def find(pipeline: Pipeline, job: object, query: int, name: str) -> Audit | None:
    with pipeline.database.begin() as connection:
        return audits.find(connection, pipeline.tenant_id, job, query, name)  # type: ignore[arg-type]


def test_an_audit_is_what_was_computed_of_this_very_pair(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    job = pipeline.submit(["one", "two"], instruction="find it")
    pipeline.run(job)
    found = find(pipeline, job, 1, "b")
    assert found is not None
    query, document = (
        LoadedContent(0, "two", instruction="find it"),
        LoadedContent(0, "other words"),
    )
    assert found.pair == pair_score(query, document)
    assert found.hit == next(h for h in pipeline.rankings(job)[1].hits if h.external_id == "b")
    assert found.scorer.fingerprint == fingerprint(SCORER)
    assert found.provenance == {"device": "fake"}
    assert (found.query, found.document) == (
        Content("two", None, "find it"),
        Content("other words"),
    )
    (prompt,) = turns(found.query, found.document, Readout.CHOICE)
    assert prompt.startswith("Instruction: find it\nCandidate: other words\nQuery: two\nWhich is")


def test_an_audit_outlives_a_changed_item(pipeline: Pipeline) -> None:
    pipeline.put({"a": "old words"})
    pipeline.run(job := pipeline.submit(["one"]))
    pipeline.put({"a": "new words"})
    found = find(pipeline, job, 0, "a")
    assert found is not None
    assert found.document.text == "old words"


def test_an_audit_says_how_much_was_cut(pipeline: Pipeline) -> None:
    pipeline.model.specs = (replace(SCORER, length_policy=LengthPolicy.TRUNCATE),)
    with pipeline.database.begin() as connection:
        scorer_id = registry.register_scorer(connection, pipeline.model.specs[0])
    pipeline.put({"a": "endless words"})
    pipeline.run(job := pipeline.submit(["one"], scorer_id=scorer_id))
    found = find(pipeline, job, 0, "a")
    assert found is not None
    assert (found.pair.cut_tokens, found.hit.cut_tokens) == (7, 7)


@pytest.mark.parametrize(("query", "name"), [(0, "c"), (1, "a"), (2**31 - 1, "a")])
def test_what_is_no_hit_has_no_audit(pipeline: Pipeline, query: int, name: str) -> None:
    pipeline.put({"a": "words"})
    pipeline.run(job := pipeline.submit(["one"]))
    assert find(pipeline, job, query, name) is None
    with pipeline.database.begin() as connection:
        assert audits.find(connection, pipeline.tenant_id + 1, job, 0, "a") is None
