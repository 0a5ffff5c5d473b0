"""Filters against the database: equal to brute force, exact or through the index as they leave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from sqlalchemy import text

from repick.content import Content
from repick.filters import parse
from repick.store import contents, corpora, embeddings, nearest, spaces
from repick.store.corpora import NewItem
from repick.store.database import Database
from repick.store.filtering import condition
from repick.store.spaces import Search
from tests.filter_values import FILTERS, METADATA, matches
from tests.integration.pipeline import Pipeline
from tests.integration.test_spaces import a_vector, space_of

EVEN = {"field": "even", "eq": True}
CASES = st.lists(METADATA, min_size=1, max_size=12)


def put(pipeline: Pipeline, metadatas: Sequence[Mapping[str, Any]]) -> None:
    """Items `item-0`, … with the metadata, embedded."""
    with pipeline.database.begin() as connection:
        texts = [Content(f"text {no}") for no in range(len(metadatas))]
        stored = contents.put(connection, pipeline.tenant_id, texts)
        items = [
            NewItem(f"item-{no}", stored[texts[no].sha256], metadata)
            for no, metadata in enumerate(metadatas)
        ]
        changed = corpora.put_items(connection, pipeline.tenant_id, pipeline.corpus_id, items)
        embeddings.enqueue(connection, pipeline.tenant_id, pipeline.space_id, changed)
    while batch := pipeline.embedder.claim(pipeline.space_id):
        pipeline.embedder.run(batch)


@given(values=st.lists(FILTERS, min_size=1, max_size=8), metadatas=CASES)
@settings(max_examples=60, deadline=None, database=None)
@seed(4)
def check_equality(
    database: Database, values: list[dict[str, Any]], metadatas: list[dict[str, Any]]
) -> None:
    with database.begin() as connection:
        for value in values:
            where = condition(parse(value))
            found = connection.execute(
                text(
                    "SELECT i.no FROM unnest(CAST(:given AS jsonb[]))"
                    f" WITH ORDINALITY AS i (metadata, no) WHERE {where.sql}"
                ),
                {**where.binds, "given": [json.dumps(one) for one in metadatas]},
            )
            ours = {no for no, one in enumerate(metadatas, 1) if matches(value, one)}
            assert set(found.scalars()) == ours, (value, metadatas)


def test_a_filter_selects_what_brute_force_selects(database: Database) -> None:
    check_equality(database)


def names(found: Sequence[spaces.Neighbour]) -> list[str]:
    return [one.external_id for one in found]


def test_a_filtered_search_is_the_search_among_what_matches(pipeline: Pipeline) -> None:
    put(pipeline, [{"even": no % 2 == 0, "tags": [f"t{no % 5}", "all"]} for no in range(60)])
    for value, step in ((EVEN, 2), ({"field": "tags", "eq": "t0"}, 5)):
        with pipeline.database.begin() as connection:
            everything = spaces.search(connection, space_of(pipeline), a_vector(1), 60)
            found = spaces.search(connection, space_of(pipeline), a_vector(1), 10, parse(value))
        wanted = [one for one in names(everything) if int(one.split("-")[1]) % step == 0]
        assert names(found) == wanted[:10]


def test_many_matches_go_through_the_index_and_few_do_not(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "EXACT_MATCHES", 20)
    put(pipeline, [{"even": no % 2 == 0, "rare": no < 15} for no in range(120)])
    with pipeline.database.autocommit() as connection:
        spaces.build_index(connection, space_of(pipeline))
    space = space_of(pipeline)
    for value, search, matching, left in (
        (EVEN, Search.INDEX, 21, 60),
        ({"field": "rare", "eq": True}, Search.EXACT, 15, 15),
        ({"field": "rare", "eq": "yes"}, Search.EXACT, 0, 0),
    ):
        with pipeline.database.begin() as connection:
            planned = spaces.plan(connection, space, parse(value))
            found = spaces.search(connection, space, a_vector(2), 50, planned=planned)
        assert (planned.search, planned.matching) == (search, matching)
        assert len(found) == min(50, left)
        cosines = [one.cosine for one in found]
        assert cosines == sorted(cosines, reverse=True)
        by_hand = [one for one in everything(pipeline) if of(value, one)][:50]
        assert names(found) == by_hand


def everything(pipeline: Pipeline) -> list[str]:
    """All items by cosine, compared one by one."""
    with pipeline.database.begin() as connection:
        connection.execute(text("SET LOCAL enable_indexscan = off"))
        found = spaces.search(connection, space_of(pipeline), a_vector(2), 120)
    return names(found)


def of(value: Mapping[str, Any], name: str) -> bool:
    no = int(name.split("-")[1])
    return matches(value, {"even": no % 2 == 0, "rare": no < 15})


def test_a_filter_of_equality_is_served_by_the_index_of_metadata(pipeline: Pipeline) -> None:
    where = condition(parse({"field": "shop.name", "in": ["a", "b"]}))
    with pipeline.database.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.execute(
            text(f"EXPLAIN SELECT FROM item i WHERE {where.sql}"), dict(where.binds)
        )
        assert "ix_item_metadata" in "\n".join(plan.scalars())


def test_a_job_with_a_filter_ranks_only_what_matches_and_says_how(pipeline: Pipeline) -> None:
    put(pipeline, [{"even": no % 2 == 0} for no in range(12)])
    job = pipeline.submit(["one", "two", "three"], filter=EVEN)
    view = pipeline.run(job)
    assert view.filter == EVEN
    for ranking in pipeline.rankings(job):
        assert (ranking.search, ranking.matching, ranking.found) == ("exact", 6, 6)
        assert {hit.external_id for hit in ranking.hits} == {f"item-{no}" for no in range(0, 12, 2)}
    assert {"code": "fewer_candidates", "queries": 3} in view.warnings


def test_a_job_without_a_filter_says_how_it_searched(pipeline: Pipeline) -> None:
    put(pipeline, [{}])
    job: UUID = pipeline.submit(["one"])
    pipeline.run(job)
    ranking = pipeline.rankings(job)[0]
    assert (ranking.search, ranking.matching) == ("exact", None)
