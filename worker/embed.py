"""The embedding of a corpus's items: one claimed batch, committed by itself."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from repick.content import LoadedContent
from repick.errors import ContentError, Unavailable
from repick.specs import fingerprint
from repick.store import embeddings, registry, spaces, unembedded
from repick.store.embeddings import EmbedBatch
from worker.coarse import Role
from worker.encoding import Encoding
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

CATCH_UP_ITEMS = 256
CATCH_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class Embedder:
    runtime: Runtime
    encoding: Encoding

    def claim(self, space_id: int, *, tried: bool = False) -> EmbedBatch | None:
        """Take a batch of the space's waiting items, or one that was tried before.

        None when none waits, the space is gone, or it is of an encoder not served here.
        """
        ours, size = fingerprint(self.encoding.encoder.spec), self.encoding.size
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
        Gives whether anything waited, and so whether this took time.
        """
        deadline, waited = time.monotonic() + CATCH_UP_S, False
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
            loaded = self.runtime.load(batch.tenant_id, [content for _, content in batch.items])
        except Unavailable:
            with self.runtime.database.begin() as connection:
                embeddings.postpone(connection, batch)
            raise
        readable = {
            item: one
            for item, content in batch.items
            if isinstance(one := loaded[content], LoadedContent)
        }
        failures = {
            item: error
            for item, content in batch.items
            if isinstance(error := loaded[content], ContentError)
        }
        vectors, unencodable = self.encoding.each(
            readable,
            Role.DOCUMENT,
            lambda connection: embeddings.hold(connection, batch, self.runtime.lease),
            bulk=True,
        )
        with self.runtime.database.statement() as connection:  # an item is in one of the two
            embeddings.commit(connection, batch, vectors)
            embeddings.fail(connection, batch, {**failures, **unencodable})
        failed = len(failures) + len(unencodable)
        self.runtime.figures.items(embedded=len(vectors), failed=failed)
