"""Planted clusters, their exact neighbours, and how they get into a space of the real schema."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from repick.specs import EncoderSpec
from repick.store import corpora, keys, registry, spaces
from repick.store.database import Database
from repick.store.spaces import Space

DIMENSION = 512
CLUSTER = 200
"""Items a cluster: more than k, so that the hundred nearest are hard to tell from the next."""
SPREAD = 0.8
"""The length of an item's noise beside its cluster's unit centre."""


@dataclass(frozen=True, slots=True)
class Data:
    """`vectors` (N, D) are as half precision keeps them; `part` (N,) is drawn from 0 … 999."""

    vectors: NDArray[np.float32]
    part: NDArray[np.int64]
    queries: NDArray[np.float32]

    def nearest(self, k: int, below: int | None) -> list[list[int]]:
        """The ids (from 1) of each query's k nearest items whose part is under `below`."""
        ids = np.arange(len(self.vectors)) if below is None else np.flatnonzero(self.part < below)
        chosen = self.vectors[ids] / np.linalg.norm(self.vectors[ids], axis=1, keepdims=True)
        asked = self.queries.astype(np.float16).astype(np.float32)
        cosines = asked @ chosen.T  # (Q, M); the query's length changes no order
        order = np.argsort(-cosines, axis=1)[:, :k]
        return [[int(one) + 1 for one in ids[row]] for row in order]


def make(items: int, queries: int, seed: int = 7) -> Data:
    random = np.random.default_rng(seed)
    centres = _unit(random.standard_normal((items // CLUSTER, DIMENSION), dtype=np.float32))
    vectors = _around(centres, np.arange(items) % len(centres), random)
    asked = _around(centres, random.integers(len(centres), size=queries), random)
    part = random.integers(1000, size=items)
    return Data(vectors.astype(np.float16).astype(np.float32), part, asked)


def fill(database: Database, raw: psycopg.Connection, data: Data) -> tuple[Space, float]:
    """A corpus of these items, embedded and indexed; and the seconds that the index took."""
    count = len(data.vectors)
    with database.begin() as connection:
        tenant_id = keys.ensure_tenant(connection, "benchmark")
        encoder = EncoderSpec("planted", "planted", "w", "t", DIMENSION)
        encoder_id = registry.register_encoder(connection, encoder)
        corpus_id = corpora.create(connection, tenant_id, "planted")
        assert corpus_id is not None
        space_id = spaces.create(connection, tenant_id, corpus_id, encoder_id, DIMENSION)
    register_vector(raw)
    with raw.transaction():
        raw.execute(
            "INSERT INTO content (tenant_id, sha256, text)"
            " SELECT %s, sha256(n::text::bytea), n::text FROM generate_series(1, %s) n ORDER BY n",
            [tenant_id, count],
        )
        raw.execute(
            "INSERT INTO item (tenant_id, corpus_id, external_id, content_id, metadata)"
            " SELECT %s, %s, 'item-' || n, n, jsonb_build_object('part', p)"
            " FROM unnest(%s::bigint[]) WITH ORDINALITY AS given (p, n) ORDER BY n",
            [tenant_id, corpus_id, data.part.tolist()],
        )
        _copy(raw, tenant_id, space_id, data)
    raw.execute("ANALYZE")
    started = time.perf_counter()
    with database.autocommit() as connection:
        space = spaces.by_id(connection, space_id)
        assert space is not None
        spaces.build_index(connection, space)
        indexed = spaces.by_id(connection, space_id)
    assert indexed is not None
    return indexed, time.perf_counter() - started


def _copy(raw: psycopg.Connection, tenant_id: int, space_id: int, data: Data) -> None:
    statement = (
        f"COPY embedding_s{space_id} (tenant_id, space_id, item_id, content_id, vector)"
        " FROM STDIN WITH (FORMAT BINARY)"
    )
    with raw.cursor().copy(statement) as copy:
        copy.set_types(["int8", "int8", "int8", "int8", "halfvec"])
        for no, vector in enumerate(data.vectors, start=1):
            copy.write_row((tenant_id, space_id, no, no, HalfVector(vector)))


def _around(
    centres: NDArray[np.float32], chosen: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.float32]:
    noise = random.standard_normal((len(chosen), DIMENSION), dtype=np.float32)
    return _unit(centres[chosen] + SPREAD * _unit(noise))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
