"""The embedding of a corpus's items: one claimed batch, committed by itself."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from repick.content import LoadedContent
from repick.errors import ContentError, Unavailable
from repick.specs import fingerprint
from repick.store import embeddings, registry, spaces, unembedded
from repick.store.database import Connection
from repick.store.embeddings import EmbedBatch
from worker.coarse import Role
from worker.encoding import Begun, Encoding, Errors, Vectors
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

T = TypeVar("T")

CATCH_UP_ITEMS = 256
CATCH_UP_S = 5.0
PIECES = 4
"""Of a claimed batch: a claim, a commit and a message for so many turns of the device."""


@dataclass(frozen=True, slots=True)
class Embedder:
    runtime: Runtime
    encoding: Encoding

    def claim(self, space_id: int, *, tried: bool = False) -> EmbedBatch | None:
        """Take a batch of the space's waiting items, or one that was tried before.

        None when none waits, the space is gone, or it is of an encoder not served here.
        """
        ours, size = fingerprint(self.encoding.encoder.spec), PIECES * self.encoding.size
        with self.runtime.database.statement() as connection:
            batch = embeddings.claim(
                connection, space_id, ours, size, self.runtime.lease, tried=tried
            )
        if batch is None:
            self._tell_of_another(space_id, ours)
        return batch

    def _tell_of_another(self, space_id: int, ours: str) -> None:
        with self.runtime.database.read() as connection:
            space = spaces.by_id(connection, space_id)
            found = space and registry.encoder_fingerprint(connection, space.encoder_id)
        if found and found != ours:
            log.warning("another encoder's space", space=space_id, fingerprint=found[:12])

    def tried(self, space_id: int) -> bool:
        """Whether items wait that were claimed before in vain."""
        ours = fingerprint(self.encoding.encoder.spec)
        with self.runtime.database.read() as connection:
            return unembedded.tried(connection, space_id, ours)

    def catch_up(self, space_id: int) -> bool:
        """Embed what little still waits, so that a job finds the items put just before it.

        A backlog is left to the bulk queue; the job then says how many items it could not see.
        Gives whether there was something to wait for.
        """
        waited, deadline = False, time.monotonic() + CATCH_UP_S
        while 0 < self._coming(space_id) <= CATCH_UP_ITEMS and time.monotonic() < deadline:
            waited = True
            if batch := self.claim(space_id):
                self.run(batch)
            else:
                time.sleep(0.05)  # another worker has them
        return waited

    def _coming(self, space_id: int) -> int:
        with self.runtime.database.read() as connection:
            return unembedded.coming(connection, space_id)

    def run(self, batch: EmbedBatch) -> None:
        """Commit the vectors of a claimed batch, and the reasons of items that have none.

        Raises Unavailable where a server is away; the items then wait again, none the worse.
        """
        try:
            vectors, failures = self._encoded(batch)
        except Unavailable:
            with self.runtime.database.begin() as connection:
                embeddings.postpone(connection, batch)
            raise
        with self.runtime.database.statement() as connection:  # an item is in one of the two
            embeddings.commit(connection, batch, vectors)
            embeddings.fail(connection, batch, failures)
        self.runtime.figures.items(embedded=len(vectors), failed=len(failures))

    def _encoded(self, batch: EmbedBatch) -> tuple[Vectors[int], Errors[int]]:
        """Vectors, and why there is none, by item: a piece is prepared while one computes."""
        vectors: Vectors[int] = {}
        errors: Errors[int] = {}

        def hold(connection: Connection) -> None:
            embeddings.hold(connection, batch, self.runtime.lease)

        def again(item: int) -> LoadedContent | ContentError:
            return self._loaded(batch, [item])[item]

        since = time.monotonic()
        for begun, unreadable in one_ahead(self._begun(batch)):
            if time.monotonic() - since > self.runtime.lease.total_seconds() / 3:
                since = time.monotonic()
                with self.runtime.database.statement() as connection:
                    hold(connection)
            found, failed = self.encoding.end(begun, hold, again)
            vectors |= found
            errors |= failed | unreadable
        return vectors, errors

    def _begun(self, batch: EmbedBatch) -> Iterator[tuple[Begun[int], Errors[int]]]:
        """The batch on its way to the device, as many items at once as that should get."""
        left = [item for item, _ in batch.items]
        while left:
            size = self.encoding.size
            items, left = left[:size], left[size:]
            yield self._begin(batch, items)

    def _begin(self, batch: EmbedBatch, items: Sequence[int]) -> tuple[Begun[int], Errors[int]]:
        loaded = self._loaded(batch, items)
        errors = {no: one for no, one in loaded.items() if isinstance(one, ContentError)}
        readable = {no: one for no, one in loaded.items() if isinstance(one, LoadedContent)}
        return self.encoding.begin(readable, Role.DOCUMENT, bulk=True), errors

    def _loaded(
        self, batch: EmbedBatch, items: Sequence[int]
    ) -> dict[int, LoadedContent | ContentError]:
        contents = dict(batch.items)
        loaded = self.runtime.load(batch.tenant_id, [contents[item] for item in items])
        return {item: loaded[contents[item]] for item in items}


def one_ahead(values: Iterable[T]) -> Iterator[T]:
    """Each value, once the one behind it has been made."""
    made: deque[T] = deque()
    for value in values:
        made.append(value)
        if len(made) > 1:
            yield made.popleft()
    yield from made
