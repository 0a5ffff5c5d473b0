"""The coarse stage of one slice: embed its queries, ask Postgres for each one's nearest items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from repick.content import LoadedContent
from repick.errors import ContentError
from repick.jobs import Slice
from repick.store import ledger, query_vectors, slices, stages
from repick.store.database import Connection
from repick.store.ledger import Verdict
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
        """Commit the candidates of each batch of queries, and the slice's end with the last."""
        with self.runtime.database.begin() as connection:
            task = retrieval(connection, held)
        # An item may be what killed the worker before.
        if held.attempts == 1 and self.embedder.catch_up(task.space.id):
            self._hold(held)
        left = task.queries
        while left:
            if not self._may_go_on(held):
                return
            size = self.encoding.size
            batch, left = left[:size], left[size:]
            keep = self._batch(held, task, batch)
            if left:
                with self.runtime.database.begin() as connection:
                    keep(connection)
        self.runtime.close(held, keep if task.queries else None)

    def _may_go_on(self, held: Slice) -> bool:
        with self.runtime.database.read() as connection:
            return ledger.may_go_on(connection, held) is not Verdict.STOP

    def _hold(self, held: Slice) -> None:
        with self.runtime.database.statement() as connection:
            slices.hold(connection, held, self.runtime.lease)

    def _batch(
        self, held: Slice, task: Retrieval, queries: tuple[OpenQuery, ...]
    ) -> Callable[[Connection], None]:
        """Encode some queries; gives what finds and stores their candidates."""
        known = self._known(held, task, queries)
        new = tuple(query for query in queries if query.content_id not in known)
        vectors, errors = self._encoded(held, new)
        contents = {query.query_no: query.content_id for query in queries}
        found = {no: known[content] for no, content in contents.items() if content in known}

        def keep(connection: Connection) -> None:
            slices.renew(connection, held, self.runtime.lease)
            for query_no, error in errors.items():
                reason = {"code": error.code, "detail": error.detail}
                stages.fail_query(connection, held.job_id, query_no, reason)
            if task.standing:
                fresh = {contents[query_no]: vector for query_no, vector in vectors.items()}
                query_vectors.keep(connection, held.tenant_id, task.space.encoder_id, fresh)
            for query_no, vector in sorted((vectors | found).items()):
                search_into(connection, held, task, query_no, vector)
            warn_of_pending(connection, held, task.space)

        return keep

    def _known(
        self, held: Slice, task: Retrieval, queries: tuple[OpenQuery, ...]
    ) -> dict[int, list[float]]:
        """Vectors by content that an earlier run of the same standing queries has kept."""
        if not task.standing:
            return {}
        ids = [query.content_id for query in queries]
        with self.runtime.database.begin() as connection:
            return query_vectors.kept(connection, held.tenant_id, task.space.encoder_id, ids)

    def _encoded(
        self, held: Slice, queries: tuple[OpenQuery, ...]
    ) -> tuple[dict[int, list[float]], dict[int, ContentError]]:
        """Vectors, and why there is none, by query number."""
        loaded = self.runtime.load(held.tenant_id, [query.content_id for query in queries])
        by_no = {query.query_no: loaded[query.content_id] for query in queries}
        readable = {no: one for no, one in by_no.items() if isinstance(one, LoadedContent)}
        errors = {no: one for no, one in by_no.items() if isinstance(one, ContentError)}
        vectors, unencodable = self.encoding.each(
            readable,
            Role.QUERY,
            lambda connection: slices.hold(connection, held, self.runtime.lease),
            bulk=False,
        )
        return vectors, errors | unencodable
