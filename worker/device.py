"""One thread that runs the model: batches wait in line, interactive before bulk.

Threads that prepare hand their batches in and wait. A batch that passes its deadline ends the
process, since a thread cannot be stopped; its lease then expires and another worker takes it.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass
from queue import PriorityQueue
from typing import Any, Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")
EXIT_DEADLINE = 70


def nobody_counts(waited_s: float, busy_s: float) -> None:
    """What a device without figures tells of its batches."""


def end_process() -> None:
    os._exit(EXIT_DEADLINE)


@dataclass(frozen=True, slots=True)
class _Work(Generic[T]):
    run: Callable[[], T]
    done: Future[T]
    context: Context
    submitted: float


class Device:
    """Runs callables one at a time in a thread of its own; a context manager."""

    def __init__(
        self,
        deadline_s: float,
        on_deadline: Callable[[], None] = end_process,
        on_batch: Callable[[float, float], None] = nobody_counts,
    ) -> None:
        """`on_batch` is told the seconds that each batch waited and computed."""
        self._deadline_s = deadline_s
        self._on_deadline = on_deadline
        self._on_batch = on_batch
        # (bulk, number, work): interactive first, then in order of arrival; None ends the thread.
        self._line: PriorityQueue[tuple[float, int, _Work[Any] | None]] = PriorityQueue()
        self._numbers = itertools.count()
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
        self._line.put((float("inf"), 0, None))
        for thread in self._threads:
            thread.join()

    def submit(self, run: Callable[[], T], *, bulk: bool = False) -> Future[T]:
        """Put a batch in line; the future gives its result or raises what it raised.

        It runs in the context of whoever submits it: its logs and spans are of the same trace.
        """
        done: Future[T] = Future()
        work = _Work(run, done, copy_context(), time.monotonic())
        self._line.put((bulk, next(self._numbers), work))
        return done

    def _serve(self) -> None:
        while (work := self._line.get()[2]) is not None:
            self._started = started = time.monotonic()
            try:
                result = work.context.run(work.run)
            except BaseException as exc:  # noqa: BLE001  (it belongs to whoever waits)
                self._ended(work, started)
                work.done.set_exception(exc)
            else:
                self._ended(work, started)
                work.done.set_result(result)

    def _ended(self, work: _Work[Any], started: float) -> None:
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
