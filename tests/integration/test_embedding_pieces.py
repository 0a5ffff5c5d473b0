"""A claimed batch of items goes to the device in pieces; each item gets what it would get alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from repick.content import LoadedContent
from repick.errors import ContentError, Unavailable
from repick.store import spaces
from tests.fakes import FakeEncoder
from tests.integration.pipeline import Pipeline, at_speed
from worker.coarse import Role
from worker.embed import PIECES, Embedder, one_ahead
from worker.encoding import IMAGE_COST, Encoding
from worker.runtime import Runtime

PIECE = 2
TEXTS = {f"item-{no}": f"text {no}" for no in range(PIECES * PIECE)}


@pytest.fixture
def embedder(pipeline: Pipeline) -> Embedder:
    """One whose device should get two items at once."""
    encoder: Any = pipeline.encoder
    encoding = Encoding(pipeline.runtime, encoder, at_speed(PIECE * IMAGE_COST))
    return Embedder(pipeline.runtime, encoding)


def vectors(pipeline: Pipeline) -> dict[str, list[float]]:
    with pipeline.database.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT item.external_id, e.vector::text AS vector FROM embedding e"
                " JOIN item ON item.tenant_id = e.tenant_id AND item.id = e.item_id"
            )
        )
        return {row.external_id: [*map(float, row.vector[1:-1].split(","))] for row in rows}


def filling(pipeline: Pipeline) -> tuple[int, int, dict[str, int]]:
    with pipeline.database.begin() as connection:
        space = spaces.by_id(connection, pipeline.space_id)
        assert space is not None
        found = spaces.filling(connection, space)
    return found.embedded, found.pending, dict(found.failed)


def test_items_in_pieces_get_the_vectors_that_they_get_alone(
    pipeline: Pipeline, embedder: Embedder
) -> None:
    pipeline.put_unembedded(TEXTS)
    batch = embedder.claim(pipeline.space_id)
    assert batch is not None
    assert len(batch.items) == len(TEXTS)
    embedder.run(batch)
    alone = FakeEncoder()
    stored = vectors(pipeline)
    assert stored.keys() == TEXTS.keys()
    for name, words in TEXTS.items():
        expected = alone.encode([LoadedContent(0, words)], Role.DOCUMENT)[0]
        np.testing.assert_allclose(stored[name], expected, atol=1e-3)  # of 16 bits


def test_an_item_without_a_vector_spoils_neither_its_piece_nor_the_others(
    pipeline: Pipeline, embedder: Embedder
) -> None:
    pipeline.put_unembedded(TEXTS | {"item-3": "no direction"})
    batch = embedder.claim(pipeline.space_id)
    assert batch is not None
    embedder.run(batch)
    assert filling(pipeline) == (len(TEXTS) - 1, 0, {"not_finite": 1})
    assert "item-3" not in vectors(pipeline)


@dataclass(frozen=True)
class Outage(Runtime):
    """Whose media store is away for every piece but the first."""

    def load(self, tenant_id: int, ids: Sequence[int]) -> dict[int, LoadedContent | ContentError]:
        loaded = super().load(tenant_id, ids)
        if any(isinstance(one, LoadedContent) and one.text == "text 0" for one in loaded.values()):
            return loaded
        raise Unavailable("the media store is away")


def test_a_server_that_goes_away_between_two_pieces_leaves_all_items_waiting(
    pipeline: Pipeline, embedder: Embedder
) -> None:
    pipeline.put_unembedded(TEXTS)
    facts = {name: getattr(pipeline.runtime, name) for name in Runtime.__dataclass_fields__}
    away = replace(embedder, runtime=Outage(**facts))
    batch = away.claim(pipeline.space_id)
    assert batch is not None
    with pytest.raises(Unavailable):
        away.run(batch)
    assert filling(pipeline) == (0, len(TEXTS), {})
    again = embedder.claim(pipeline.space_id)
    assert again is not None
    embedder.run(again)
    assert filling(pipeline) == (len(TEXTS), 0, {})


@dataclass(frozen=True)
class Slow(Runtime):
    """To which loading a piece takes more than a third of a lease, by a clock of its own."""

    clock: list[float] = field(default_factory=lambda: [0.0])
    leases: list[datetime] = field(default_factory=list)
    """Until when the items were held, at each piece."""

    def load(self, tenant_id: int, ids: Sequence[int]) -> dict[int, LoadedContent | ContentError]:
        self.clock[0] += 1.1 * self.lease.total_seconds() / 3
        with self.database.begin() as connection:
            until = text("SELECT min(lease_until) FROM pending_embedding")
            self.leases.append(connection.execute(until).scalar_one())
        return super().load(tenant_id, ids)


def test_items_are_held_from_piece_to_piece_however_long_they_take_together(
    pipeline: Pipeline, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.put_unembedded(TEXTS)
    slow = Slow(**{name: getattr(pipeline.runtime, name) for name in Runtime.__dataclass_fields__})
    monkeypatch.setattr("worker.embed.time", SimpleNamespace(monotonic=lambda: slow.clock[0]))
    batch = replace(embedder, runtime=slow).claim(pipeline.space_id)
    assert batch is not None
    replace(embedder, runtime=slow).run(batch)
    first, second, *later = slow.leases
    assert first == second, "one piece ahead: nothing was waited for yet"
    assert [second, *later] == sorted({second, *later})
    assert len(later) == PIECES - 2
    assert filling(pipeline) == (len(TEXTS), 0, {})


def test_a_value_is_given_once_the_one_behind_it_is_made() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for value in range(3):
            made.append(value)
            yield value

    seen = [(value, len(made)) for value in one_ahead(make())]
    assert seen == [(0, 2), (1, 3), (2, 3)]
    assert list(one_ahead([])) == []
