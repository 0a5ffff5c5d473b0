"""The coarse stage of one slice: embed its queries, ask Postgres for each one's nearest items."""

from __future__ import annotations

from dataclasses import dataclass

from repick.content import LoadedContent
from repick.errors import ContentError, ModelError
from repick.jobs import Slice
from repick.specs import fingerprint
from repick.store import slices, stages
from repick.store.queries import (
    OpenQuery,
    Retrieval,
    retrieval,
    search_into,
    warn_of_pending,
)
from worker.coarse import Role
from worker.embed import Embedder
from worker.encoding import Encoding
from worker.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Retriever:
    runtime: Runtime
    encoding: Encoding
    embedder: Embedder

    def run(self, held: Slice) -> None:
        """Commit the candidates of each batch of queries; end the slice."""
        with self.runtime.database.begin() as connection:
            task = retrieval(connection, held)
        self._check(task)
        self.embedder.catch_up(task.space.id)
        left = task.queries
        while left:
            size = self.encoding.pace.size
            batch, left = left[:size], left[size:]
            self._batch(held, task, batch)
        self.runtime.close(held)

    def _check(self, task: Retrieval) -> None:
        if task.encoder_fingerprint != fingerprint(self.encoding.encoder.spec):
            raise ModelError("this worker serves another encoder", code="encoder_not_served")

    def _batch(self, held: Slice, task: Retrieval, queries: tuple[OpenQuery, ...]) -> None:
        loaded = self.runtime.load(held.tenant_id, [query.content_id for query in queries])
        by_no = {query.query_no: loaded[query.content_id] for query in queries}
        readable = {no: one for no, one in by_no.items() if isinstance(one, LoadedContent)}
        errors = {no: one for no, one in by_no.items() if isinstance(one, ContentError)}
        vectors, unencodable = self.encoding.each(readable, Role.QUERY, bulk=False)
        with self.runtime.database.begin() as connection:
            slices.renew(connection, held, self.runtime.lease)
            for query_no, error in (errors | unencodable).items():
                reason = {"code": error.code, "detail": error.detail}
                stages.fail_query(connection, held.job_id, query_no, reason)
            for query_no, vector in vectors.items():
                search_into(connection, held, task, query_no, vector)
            warn_of_pending(connection, held, task.space)
