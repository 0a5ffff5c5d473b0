"""Spaces: exact search, the space's own index, ties, dimensions, and resumable embedding."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from repick.content import LoadedContent
from repick.errors import ContentError
from repick.store import corpora, embeddings, spaces
from repick.store.database import Database
from repick.store.vectors import half, halves
from tests.fakes import DIMENSION, FakeEncoder
from tests.integration.pipeline import Pipeline
from worker.tasks import embed_batch

TEXTS = {f"item-{n:03}": f"text {n}" for n in range(120)}


def space_of(pipeline: Pipeline) -> spaces.Space:
    with pipeline.database.begin() as connection:
        space = spaces.by_id(connection, pipeline.space_id)
    assert space is not None
    return space


def search(pipeline: Pipeline, vector: list[float], k: int) -> list[spaces.Neighbour]:
    with pipeline.database.begin() as connection:
        return spaces.search(connection, space_of(pipeline), vector, k)


def by_hand(vector: list[float], k: int) -> list[str]:
    """The nearest items by cosine in float64, from vectors rounded as halfvec rounds them."""
    query = np.array(vector, np.float16).astype(np.float64)
    cosines = {}
    for name, words in TEXTS.items():
        one = FakeEncoder().encode([LoadedContent(0, words)], "document")[0]
        half = one.astype(np.float16).astype(np.float64)
        cosines[name] = half @ query / np.linalg.norm(half) / np.linalg.norm(query)
    return sorted(cosines, key=lambda name: -cosines[name])[:k]


def a_vector(seed: int) -> list[float]:
    vector = np.random.default_rng(seed).normal(size=DIMENSION)
    return [float(x) for x in vector / np.linalg.norm(vector)]


def test_small_space_is_searched_exactly(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    for seed in range(5):
        found = search(pipeline, a_vector(seed), 10)
        assert [one.external_id for one in found] == by_hand(a_vector(seed), 10)


def test_outgrown_space_is_searched_through_its_own_index(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    with pipeline.database.autocommit() as connection:
        connection.execute(text("ANALYZE"))
        assert spaces.outgrown(connection, 1000) == []
        (space,) = spaces.outgrown(connection, 100)
        spaces.build_index(connection, space)
        assert spaces.outgrown(connection, 100) == []
    assert space_of(pipeline).indexed
    for seed in range(5):
        found = search(pipeline, a_vector(seed), 10)
        assert [one.external_id for one in found] == by_hand(a_vector(seed), 10)
    with pipeline.database.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.execute(
            text(
                f"EXPLAIN SELECT item_id FROM {space.partition} e"
                f" ORDER BY e.vector::halfvec({DIMENSION}) <=> CAST(:q AS halfvec({DIMENSION}))"
                " LIMIT 10"
            ),
            {"q": str(a_vector(1))},
        )
        assert "hnsw" in "\n".join(plan.scalars())


def test_vectors_arrive_as_numpy_rounds_them(database: Database) -> None:
    made = [a_vector(seed) for seed in range(3)]
    rounded = np.array(made, np.float16).astype(np.float32)
    with database.begin() as connection:
        for _ in range(2):  # the second time the type's number is known
            several = connection.execute(
                text("SELECT one::real[] FROM unnest(CAST(:given AS halfvec[])) AS given (one)"),
                {"given": halves(connection, made)},
            ).scalars()
            assert np.array_equal(np.array(several.all(), np.float32), rounded)
        one = text("SELECT CAST(CAST(:given AS halfvec) AS real[])")
        found = connection.execute(one, {"given": half(made[0])}).scalar_one()
        assert np.array_equal(np.array(found, np.float32), rounded[0])


def test_equal_cosines_are_ordered_by_item_id(pipeline: Pipeline) -> None:
    ids = pipeline.put(dict.fromkeys(("z", "a", "m"), "the same words"))
    found = search(pipeline, a_vector(0), 2)
    assert [one.item_id for one in found] == sorted(ids)[:2]


def test_vector_of_another_dimension_is_refused(pipeline: Pipeline) -> None:
    pipeline.put_unembedded({"a": "words"})
    batch = pipeline.embedder.claim(pipeline.space_id)
    assert batch is not None
    item_id = batch.items[0][0]
    with pytest.raises(IntegrityError), pipeline.database.begin() as connection:
        embeddings.commit(connection, batch, {item_id: [1.0] * (DIMENSION + 1)})


def test_deleted_item_is_not_found(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    with pipeline.database.begin() as connection:
        deleted = corpora.delete_items(connection, 1, pipeline.corpus_id, ["a", "missing"])
    assert deleted == 1
    assert [one.external_id for one in search(pipeline, a_vector(0), 5)] == ["b"]


def test_deleted_corpus_takes_its_partition_along(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words"})
    pipeline.run(job := pipeline.submit(["a query"]))
    with pipeline.database.begin() as connection:
        spaces.drop_of_corpus(connection, pipeline.tenant_id, pipeline.corpus_id)
        corpora.remove(connection, pipeline.tenant_id, pipeline.corpus_id)
    with pipeline.database.begin() as connection:
        assert spaces.by_id(connection, pipeline.space_id) is None
    assert pipeline.view(job).corpus_name == "shapes"
    assert [hit.external_id for hit in pipeline.rankings(job)[0].hits] == ["a"]


def test_embedding_goes_on_where_a_dead_worker_stopped(pipeline: Pipeline) -> None:
    pipeline.put_unembedded(TEXTS)
    dead = pipeline.embedder.claim(pipeline.space_id)
    assert dead is not None
    expire(pipeline.database)
    while embed_batch(pipeline.embedder, pipeline.space_id):
        pass
    with pipeline.database.begin() as connection:
        filling = spaces.filling(connection, space_of(pipeline))
        assert embeddings.commit(connection, dead, {dead.items[0][0]: a_vector(0)}) == 0
    assert (filling.embedded, filling.pending, filling.failed) == (len(TEXTS), 0, {})


def test_vector_of_an_old_content_is_not_stored(pipeline: Pipeline) -> None:
    pipeline.put_unembedded({"a": "old words"})
    slow = pipeline.embedder.claim(pipeline.space_id)
    assert slow is not None
    pipeline.put_unembedded({"a": "new words"})
    pipeline.embedder.run(slow)
    with pipeline.database.begin() as connection:
        assert spaces.filling(connection, space_of(pipeline)).embedded == 0
        assert spaces.filling(connection, space_of(pipeline)).pending == 1


def test_item_that_cannot_be_read_fails_with_its_reason_and_the_rest_goes_on(
    pipeline: Pipeline,
) -> None:
    pipeline.put_unembedded({"a": "words", "b": "other words"})
    batch = pipeline.embedder.claim(pipeline.space_id)
    assert batch is not None
    (bad, _), (good, _) = batch.items
    with pipeline.database.begin() as connection:
        embeddings.commit(connection, batch, {good: a_vector(0)})
        embeddings.fail(connection, batch, {bad: ContentError("decode_error", "no image")})
        filling = spaces.filling(connection, space_of(pipeline))
    assert (filling.embedded, filling.pending, filling.failed) == (1, 0, {"decode_error": 1})
    assert pipeline.embedder.claim(pipeline.space_id) is None


def test_item_that_kills_its_workers_is_tried_alone_and_then_fails(pipeline: Pipeline) -> None:
    pipeline.put_unembedded({"a": "words", "b": "other words"})
    first = pipeline.embedder.claim(pipeline.space_id)
    assert first is not None
    assert len(first.items) == 2
    expire(pipeline.database)
    killed = 0
    assert pipeline.embedder.claim(pipeline.space_id) is None
    while batch := pipeline.embedder.claim(pipeline.space_id, tried=True):
        assert len(batch.items) == 1
        if batch.items[0] == first.items[0]:
            killed += 1
            expire(pipeline.database)
        else:
            pipeline.embedder.run(batch)
    with pipeline.database.begin() as connection:
        assert embeddings.end_lost(connection) == 1
        filling = spaces.filling(connection, space_of(pipeline))
    assert (killed, filling.embedded, filling.failed) == (2, 1, {"worker_lost": 1})


def expire(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(
            text(
                "UPDATE pending_embedding SET lease_until = now() - interval '1 s'"
                " WHERE token IS NOT NULL"
            )
        )
