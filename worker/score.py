"""The fine stage of one slice: prepare a batch while the device computes the one before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from repick import telemetry
from repick.content import LoadedContent
from repick.errors import ContentError, ModelError
from repick.jobs import MAX_ATTEMPTS, PairFailure, PairScore, Slice
from repick.specs import ScorerSpec
from repick.store import ledger, slices
from repick.store.database import Connection
from repick.store.ledger import OpenPair, Verdict, Work
from worker.fine.scorer import FineModel, PreparedPair
from worker.line import Joint
from worker.pace import Pace
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

T = TypeVar("T")
_Judged = tuple[PairScore | PairFailure, float]
"""What a pair came to, and its part of the seconds that the device took."""

PASS_TOKENS = 2048
FIRST_PAIRS = 8
PATIENCE_S = 3.0
"""How long a bulk batch waits behind interactive ones before its slice is given back."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """Pairs for one batch, and those before them that could not be prepared."""

    pairs: Mapping[OpenPair, PreparedPair]
    failures: Mapping[OpenPair, PairFailure]
    last: bool
    """Whether the slice has no further one."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch that the device has: its pairs in order, and those that could not be prepared."""

    pairs: tuple[OpenPair, ...]
    failures: Mapping[OpenPair, PairFailure]
    scores: Future[list[_Judged]]
    kept: threading.Event
    """Set once it is committed, or never will be."""
    submitted: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a batch came to, and the seconds that the device took for it."""

    scores: Mapping[OpenPair, PairScore]
    failures: Mapping[OpenPair, PairFailure]
    device_s: float


@dataclass(frozen=True, slots=True)
class SliceScorer:
    runtime: Runtime
    model: FineModel
    specs: Mapping[str, ScorerSpec]
    provenance_id: int
    pace: Pace
    pass_tokens: Callable[[], int] = lambda: PASS_TOKENS
    """Tokens that fill a forward pass: up to so many, pairs of several jobs are scored as one."""
    patience_s: float = PATIENCE_S

    def run(self, held: Slice) -> bool:
        """Score what the ledger does not have, a commit a batch, and end the slice.

        A batch is prepared while the one before computes, and handed in once that is committed; nor
        does the device start another slice's batch before that. So whatever happens to this
        process, at most one batch is scored again. False where it stopped before the end: it was
        cancelled or lost, or it gave way to interactive work and waits again.
        """
        with self.runtime.database.read() as connection:
            work = ledger.work(connection, held)
            verdict = ledger.may_go_on(connection, held)
        self.runtime.figures.pairs(reused=held.last - held.first + 1 - len(work.pairs))
        if not work.pairs:
            self.runtime.close(held)
            return True
        batch: _Batch | None = None
        try:
            with closing(_ahead(self._prepared(held, work))) as batches:
                while verdict is Verdict.GO_ON:
                    ready = next(batches)
                    batch = self._submit(held, work, ready)
                    if ready.last:
                        self._finish(held, work, batch)
                        return True
                    verdict = self._commit(held, work, batch)
        except CancelledError:
            return self._leave(held)
        finally:
            if batch is not None:
                batch.scores.cancel()  # where the work ends early, it need not begin
                batch.kept.set()
        if verdict is Verdict.GIVE_WAY:
            with self.runtime.database.begin() as connection:
                slices.release(connection, held)
        return False

    def _leave(self, held: Slice) -> bool:
        """A batch left the line: the slice is given back, unless it is nobody's to give by now."""
        with self.runtime.database.begin() as connection:
            if ledger.may_go_on(connection, held) is not Verdict.STOP:
                slices.release(connection, held)
        return False

    def _prepared(self, held: Slice, work: Work) -> Iterator[_Ready]:
        """Batches in order, each of as many pairs as the pace allows by their tokens."""
        spec, size = self.specs[work.scorer_fingerprint], self.runtime.settings.batch_pairs
        start = 0
        while start < len(work.pairs):
            soon = start == 0 and not self.runtime.device.busy
            count = self._first(size, len(work.pairs)) if soon else size
            prepared, failures = self._prepare(held, spec, work.pairs[start : start + count])
            start += count
            left = list(prepared.items())
            while left or failures:
                # At the last attempt each goes alone, so that a bad one spoils no neighbour.
                run = left[:1] if held.attempts >= MAX_ATTEMPTS else self.pace.run(left, _tokens)
                told, left, failures = failures, left[len(run) :], {}
                yield _Ready(dict(run), told, start >= len(work.pairs) and not left)

    @staticmethod
    def _first(size: int, left: int) -> int:
        """A device that has nothing to do gets its first batch soon, and no short one behind it."""
        return size if left < 2 * FIRST_PAIRS else min(size, FIRST_PAIRS)

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
        last, kept = held.attempts >= MAX_ATTEMPTS, threading.Event()
        scores = self.runtime.device.submit(
            lambda: self._traced(pairs, last),
            bulk=work.bulk,
            joint=None if last or not pairs else self._joint(work, pairs),
            kept=kept,
        )
        return _Batch(tuple(ready.pairs), ready.failures, scores, kept)

    def _joint(self, work: Work, pairs: Sequence[PreparedPair]) -> Joint:
        """Pairs of other jobs may fill the forward pass that these leave half empty."""
        return Joint(
            key=work.scorer_fingerprint,
            pieces=pairs,
            cost=_total(pairs),
            room=lambda: min(self.pace.size, self.pass_tokens()),
            together=self._timed,
            around=lambda: telemetry.span("repick.batch", pairs=len(pairs)),
        )

    def _timed(self, pairs: Sequence[PreparedPair]) -> list[_Judged]:
        started, total = time.monotonic(), _total(pairs)
        scores = self.pace.timed(lambda: self.model.score(pairs), total)
        a_token = (time.monotonic() - started) / max(1, total)
        return [(one, a_token * pair.length) for one, pair in zip(scores, pairs, strict=True)]

    def _should_leave(self, connection: Connection, held: Slice, work: Work, batch: _Batch) -> bool:
        """Whether a batch that waits in line should not start: cancelled, or in the way.

        Bulk work also gives its slice back where interactive batches keep it from the device.
        """
        if ledger.may_go_on(connection, held) is not Verdict.GO_ON:
            return True
        waited = time.monotonic() - batch.submitted
        return work.bulk and waited > self.patience_s and self.runtime.device.line.urgent

    def _traced(self, ready: list[PreparedPair], last: bool) -> list[_Judged]:
        with telemetry.span("repick.batch", pairs=len(ready)):
            return self._score(ready, last)

    def _score(self, ready: list[PreparedPair], last: bool) -> list[_Judged]:
        """Scores in order; a pair whose figures are not finite fails alone, not its batch.

        At the slice's last attempt, so does a pair that breaks in any other way.
        """
        if not ready:
            return []
        try:
            return self._timed(ready)
        except Exception as exc:
            code = exc.code if isinstance(exc, ModelError) else "scoring_error"
            if code != "not_finite" and not last:
                raise
            if len(ready) == 1:
                log.exception("pair not scored", code=code)
                failed = PairFailure(code, "the model could not score it", code != "not_finite")
                return [(failed, 0.0)]
            return [score for pair in ready for score in self._score([pair], last)]

    def _commit(self, held: Slice, work: Work, batch: _Batch) -> Verdict:
        """Commit a batch once it is computed; gives whether the next may start."""
        outcome = self._outcome(held, work, batch)
        with self.runtime.database.begin() as connection:
            self._keep(connection, held, work, outcome)
            verdict = ledger.may_go_on(connection, held)
        batch.kept.set()
        self._count(outcome)
        return verdict

    def _finish(self, held: Slice, work: Work, batch: _Batch) -> None:
        """Commit the last batch and the slice's end with it."""
        outcome = self._outcome(held, work, batch)
        self.runtime.close(
            held, lambda connection: self._keep(connection, held, work, outcome), batch.kept.set
        )
        self._count(outcome)

    def _outcome(self, held: Slice, work: Work, batch: _Batch) -> _Outcome:
        judged = self.runtime.result_of(
            batch.scores,
            lambda connection: slices.hold(connection, held, self.runtime.lease),
            lambda connection: self._should_leave(connection, held, work, batch),
        )
        results = dict(zip(batch.pairs, (one for one, _ in judged), strict=True))
        scores = {p: one for p, one in results.items() if isinstance(one, PairScore)}
        failed = {p: one for p, one in results.items() if isinstance(one, PairFailure)}
        seconds = sum(seconds for _, seconds in judged)
        return _Outcome(scores, {**batch.failures, **failed}, seconds)

    def _keep(self, connection: Connection, held: Slice, work: Work, outcome: _Outcome) -> None:
        ledger.commit_batch(
            connection,
            held,
            work,
            outcome.scores,
            outcome.failures,
            self.provenance_id,
            self.runtime.lease,
            outcome.device_s,
        )

    def _count(self, outcome: _Outcome) -> None:
        self.runtime.figures.pairs(scored=len(outcome.scores), failed=len(outcome.failures))


def _ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The items, each made in a thread of its own while the caller has the one before."""

    def following() -> T | None:
        return next(items, None)

    with ThreadPoolExecutor(1, "prepare") as thread:
        coming = thread.submit(copy_context().run, following)
        while (item := coming.result()) is not None:
            coming = thread.submit(copy_context().run, following)
            yield item


def _total(pairs: Sequence[PreparedPair]) -> int:
    return sum(pair.length for pair in pairs)


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
