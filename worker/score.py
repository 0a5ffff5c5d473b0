"""The fine stage of one slice: prepare a batch while the device computes the one before."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from repick.content import LoadedContent
from repick.errors import ContentError, ModelError
from repick.jobs import PairFailure, PairScore, Slice
from repick.specs import ScorerSpec
from repick.store import ledger, slices
from repick.store.ledger import OpenPair, Verdict, Work
from worker.fine.scorer import FineModel, PreparedPair
from worker.pace import Pace
from worker.runtime import Runtime


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch that the device has: its pairs in order, and those that could not be prepared."""

    pairs: tuple[OpenPair, ...]
    failures: Mapping[OpenPair, PairFailure]
    scores: Future[list[PairScore | PairFailure]]


@dataclass(frozen=True, slots=True)
class SliceScorer:
    runtime: Runtime
    model: FineModel
    specs: Mapping[str, ScorerSpec]
    provenance_id: int
    pace: Pace

    def run(self, held: Slice) -> bool:
        """Score what the ledger does not have, a commit a batch, and end the slice.

        False where it stopped before the end: it was cancelled or lost, or it gave way to
        interactive work and waits again.
        """
        with self.runtime.database.begin() as connection:
            work = ledger.work(connection, held)
        spec = self._spec(work)
        ahead: _Batch | None = None
        verdict = Verdict.GO_ON
        left = work.pairs
        while left:
            size = self.pace.size
            batch, left = left[:size], left[size:]
            prepared, failures = self._prepare(held, spec, batch)
            with self.runtime.database.begin() as connection:
                verdict = ledger.may_go_on(connection, held)
            if verdict is not Verdict.GO_ON:
                break
            behind = self._submit(prepared, failures, work.bulk)
            self._commit(held, work, ahead)
            ahead = behind
        self._commit(held, work, ahead)
        return self._end(held, verdict)

    def _end(self, held: Slice, verdict: Verdict) -> bool:
        if verdict is Verdict.GIVE_WAY:
            with self.runtime.database.begin() as connection:
                slices.release(connection, held)
        if verdict is Verdict.GO_ON:
            self.runtime.close(held)
        return verdict is Verdict.GO_ON

    def _spec(self, work: Work) -> ScorerSpec:
        spec = self.specs.get(work.scorer_fingerprint)
        if spec is None:
            raise ModelError("this worker serves another scorer", code="scorer_not_served")
        return spec

    def _prepare(
        self, held: Slice, spec: ScorerSpec, pairs: tuple[OpenPair, ...]
    ) -> tuple[dict[OpenPair, PreparedPair], dict[OpenPair, PairFailure]]:
        ids = {pair.query_id for pair in pairs} | {pair.document_id for pair in pairs}
        loaded = self.runtime.load(held.tenant_id, sorted(ids))
        prepared: dict[OpenPair, PreparedPair] = {}
        failures: dict[OpenPair, PairFailure] = {}
        for pair in pairs:
            try:
                query, document = _both(loaded[pair.query_id], loaded[pair.document_id])
                prepared[pair] = self.model.prepare(query, document, spec)
            except ContentError as exc:
                failures[pair] = PairFailure(exc.code, exc.detail, exc.retryable)
        return prepared, failures

    def _submit(
        self,
        prepared: Mapping[OpenPair, PreparedPair],
        failures: Mapping[OpenPair, PairFailure],
        bulk: bool,
    ) -> _Batch:
        ready = list(prepared.values())
        scores = self.runtime.device.submit(lambda: self._score(ready), bulk=bulk)
        return _Batch(tuple(prepared), failures, scores)

    def _score(self, ready: list[PreparedPair]) -> list[PairScore | PairFailure]:
        """Scores in order; a pair whose figures are not finite fails alone, not its batch."""
        if not ready:
            return []
        try:
            return list(self.pace.timed(self.model.score, ready))
        except ModelError as exc:
            if exc.code != "not_finite":
                raise
            if len(ready) == 1:
                return [PairFailure(exc.code, exc.detail)]
            return [score for pair in ready for score in self._score([pair])]

    def _commit(self, held: Slice, work: Work, batch: _Batch | None) -> None:
        if batch is None:
            return
        results = dict(zip(batch.pairs, batch.scores.result(), strict=True))
        scores = {p: one for p, one in results.items() if isinstance(one, PairScore)}
        failed = {p: one for p, one in results.items() if isinstance(one, PairFailure)}
        with self.runtime.database.begin() as connection:
            ledger.commit_batch(
                connection,
                held,
                work,
                scores,
                {**batch.failures, **failed},
                self.provenance_id,
                self.runtime.lease,
            )


def _both(
    query: LoadedContent | ContentError, document: LoadedContent | ContentError
) -> tuple[LoadedContent, LoadedContent]:
    for one in (query, document):
        if isinstance(one, ContentError):
            raise one
    assert isinstance(query, LoadedContent)
    assert isinstance(document, LoadedContent)
    return query, document
