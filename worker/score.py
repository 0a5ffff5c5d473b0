"""The fine stage of one slice: prepare a batch while the device computes the one before."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import structlog

from repick import telemetry
from repick.content import LoadedContent
from repick.errors import ContentError, ModelError
from repick.jobs import MAX_ATTEMPTS, PairFailure, PairScore, Slice
from repick.specs import ScorerSpec
from repick.store import ledger, slices
from repick.store.ledger import OpenPair, Verdict, Work
from worker.fine.scorer import FineModel, PreparedPair
from worker.pace import Pace
from worker.runtime import Runtime

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Ready:
    """Pairs for one batch, and those before them that could not be prepared."""

    pairs: Mapping[OpenPair, PreparedPair]
    failures: Mapping[OpenPair, PairFailure]


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch that the device has: its pairs in order, and those that could not be prepared."""

    pairs: tuple[OpenPair, ...]
    failures: Mapping[OpenPair, PairFailure]
    scores: Future[_Scored]


@dataclass(frozen=True, slots=True)
class _Scored:
    """What a batch came to, in its pairs' order, and how many seconds the device took."""

    results: list[PairScore | PairFailure]
    seconds: float


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
        self.runtime.figures.pairs(reused=held.last - held.first + 1 - len(work.pairs))
        ahead: _Batch | None = None
        verdict = Verdict.GO_ON
        for ready in self._prepared(held, work):
            with self.runtime.database.begin() as connection:
                verdict = ledger.may_go_on(connection, held)
            if verdict is not Verdict.GO_ON:
                break
            behind = self._submit(held, work, ready)
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

    def _prepared(self, held: Slice, work: Work) -> Iterator[_Ready]:
        """Batches in order, each of as many pairs as the pace allows by their tokens."""
        spec, size = self.specs[work.scorer_fingerprint], self.runtime.settings.batch_pairs
        for start in range(0, len(work.pairs), size):
            prepared, failures = self._prepare(held, spec, work.pairs[start : start + size])
            left = list(prepared.items())
            while left or failures:
                # At the last attempt each goes alone, so that a bad one spoils no neighbour.
                run = left[:1] if held.attempts >= MAX_ATTEMPTS else self.pace.run(left, _tokens)
                yield _Ready(dict(run), failures)
                left, failures = left[len(run) :], {}

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

    def _submit(self, held: Slice, work: Work, ready: _Ready) -> _Batch:
        pairs = list(ready.pairs.values())
        last = held.attempts >= MAX_ATTEMPTS
        scores = self.runtime.device.submit(lambda: self._traced(pairs, last), bulk=work.bulk)
        return _Batch(tuple(ready.pairs), ready.failures, scores)

    def _traced(self, ready: list[PreparedPair], last: bool) -> _Scored:
        started = time.monotonic()
        with telemetry.span("repick.batch", pairs=len(ready)):
            results = self._score(ready, last)
        return _Scored(results, time.monotonic() - started)

    def _score(self, ready: list[PreparedPair], last: bool) -> list[PairScore | PairFailure]:
        """Scores in order; a pair whose figures are not finite fails alone, not its batch.

        At the slice's last attempt, so does a pair that breaks in any other way.
        """
        if not ready:
            return []
        units = sum(pair.length for pair in ready)
        try:
            return list(self.pace.timed(lambda: self.model.score(ready), units))
        except Exception as exc:
            code = exc.code if isinstance(exc, ModelError) else "scoring_error"
            if code != "not_finite" and not last:
                raise
            if len(ready) == 1:
                log.exception("pair not scored", code=code)
                return [PairFailure(code, "the model could not score it", code != "not_finite")]
            return [score for pair in ready for score in self._score([pair], last)]

    def _commit(self, held: Slice, work: Work, batch: _Batch | None) -> None:
        if batch is None:
            return
        scored = self.runtime.result_of(
            batch.scores,
            lambda connection: slices.hold(connection, held, self.runtime.lease),
        )
        results = dict(zip(batch.pairs, scored.results, strict=True))
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
                scored.seconds,
            )
        broken = len(batch.failures) + len(failed)
        self.runtime.figures.pairs(scored=len(scores), failed=broken)


def _tokens(ready: tuple[OpenPair, PreparedPair]) -> int:
    return ready[1].length


def _both(
    query: LoadedContent | ContentError, document: LoadedContent | ContentError
) -> tuple[LoadedContent, LoadedContent]:
    for one in (query, document):
        if isinstance(one, ContentError):
            raise one
    assert isinstance(query, LoadedContent)
    assert isinstance(document, LoadedContent)
    return query, document
