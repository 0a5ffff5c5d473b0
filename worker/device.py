"""One thread that runs the model: what waits in line is computed batch by batch.

Threads that prepare hand their batches in and wait; small ones of several jobs are computed as one.
A batch that passes its deadline ends the process, since a thread cannot be stopped; its lease then
expires and another worker takes it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from typing import Any, TypeVar

import structlog

from worker.line import Joint, Line, Work

log = structlog.get_logger(__name__)

T = TypeVar("T")
EXIT_DEADLINE = 70
KEEPING_S = 5.0
"""How long the device waits for a result to be kept: what cannot be is no reason to stand still."""


def nobody_counts(waited_s: float, busy_s: float) -> None:
    """What a device without figures tells of its batches."""


def end_process() -> None:
    os._exit(EXIT_DEADLINE)


class Device:
    """Runs callables one at a time in a thread of its own; a context manager."""

    def __init__(
        self,
        deadline_s: float,
        on_deadline: Callable[[], None] = end_process,
        on_batch: Callable[[float, float], None] = nobody_counts,
        patience_s: float = KEEPING_S,
    ) -> None:
        """`on_batch` is told the seconds that each batch waited and computed; `patience_s` is how
        long the next one waits for the results of the last to be kept."""
        self._deadline_s = deadline_s
        self._on_deadline = on_deadline
        self._on_batch = on_batch
        self._patience_s = patience_s
        self.line = Line()
        """What waits; to be looked at, and filled by `submit`."""
        self._started: float | None = None
        self.batches = 0
        """Batches that have ended, well or not: whoever waits sees that the line moves."""
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._serve, name="device", daemon=True),
            threading.Thread(target=self._watch, name="watchdog", daemon=True),
        ]

    def __enter__(self) -> Device:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self.line.close()
        for thread in self._threads:
            thread.join()

    def submit(
        self,
        run: Callable[[], T],
        *,
        bulk: bool = False,
        joint: Joint | None = None,
        kept: threading.Event | None = None,
    ) -> Future[T]:
        """Put a batch in line; the future gives its result or raises what it raised.

        It runs in the context of whoever submits it: its logs and spans are of the same trace.
        With `joint` it may be computed in one batch with others, and its result is the list of its
        pieces' results; `run` is what to do with it alone. While it waits it can be cancelled.
        The next batch starts once `kept` is set, so that a kill loses one batch and not two.
        """
        work: Work[T] = Work(run, joint, kept)
        self.line.put(work, bulk=bulk)
        return work.done

    @property
    def busy(self) -> bool:
        """Whether it computes, or has something to compute next."""
        return self._started is not None or len(self.line) > 0

    def _serve(self) -> None:
        while batch := self.line.take():
            if len(batch) == 1 or not self._together(batch):
                for work in batch:
                    self._alone(work)

    def _alone(self, work: Work[Any]) -> None:
        started = self._begin()
        try:
            result = work.context.run(work.run)
        except BaseException as exc:  # noqa: BLE001  (it belongs to whoever waits)
            self._ended(work, started)
            work.done.set_exception(exc)
        else:
            self._ended(work, started)
            work.done.set_result(result)
            self._until_kept([work])

    def _together(self, batch: Sequence[Work[Any]]) -> bool:
        """Compute a batch of several threads' pieces; False where it failed, and nothing is done.

        Each is then run alone, so that whoever spoils a batch spoils no neighbour's.
        """
        started = self._begin()
        joints = [work.joint for work in batch if work.joint is not None]
        pieces = [piece for joint in joints for piece in joint.pieces]
        try:
            results = _within(batch, lambda: joints[0].together(pieces))
        except Exception as exc:  # noqa: BLE001  (each meets its own again)
            self._ended(batch[0], started)
            log.warning("joint batch failed", jobs=len(batch), reason=type(exc).__name__)
            return False
        self._ended(batch[0], started)
        first = 0
        for work, joint in zip(batch, joints, strict=True):
            work.done.set_result(results[first : first + len(joint.pieces)])
            first += len(joint.pieces)
        self._until_kept(batch)
        return True

    def _until_kept(self, batch: Sequence[Work[Any]]) -> None:
        end = time.monotonic() + self._patience_s
        for work in batch:
            if work.kept is not None:
                work.kept.wait(max(0.0, end - time.monotonic()))

    def _begin(self) -> float:
        self._started = started = time.monotonic()
        return started

    def _ended(self, work: Work[Any], started: float) -> None:
        self._started = None
        self.batches += 1
        self._on_batch(started - work.submitted, time.monotonic() - started)

    def _watch(self) -> None:
        while not self._closing.wait(0.2):
            started = self._started
            if started is not None and time.monotonic() - started > self._deadline_s:
                log.critical("a batch passed its deadline", deadline_s=self._deadline_s)
                self._on_deadline()
                return


def _within(batch: Sequence[Work[Any]], run: Callable[[], T]) -> T:
    """Run inside the context, and what is to be around it, of each of them."""
    if not batch:
        return run()

    def inside() -> T:
        with batch[0].joint.around() if batch[0].joint else nullcontext():
            return _within(batch[1:], run)

    return batch[0].context.run(inside)
