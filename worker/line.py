"""What waits for the device: interactive before bulk, in order of arrival, taken batch by batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Joint:
    """Pieces that one batch may compute with other threads' pieces of the same key.

    `together` gives a result a piece, in order, of the pieces of all; a batch takes others in while
    their `cost` and its own stay within `room`. `around` is open meanwhile, in each one's context.
    """

    key: Hashable
    pieces: Sequence[Any]
    cost: int
    room: Callable[[], int]
    together: Callable[[Sequence[Any]], Sequence[Any]]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True, slots=True, eq=False)
class Work(Generic[T]):
    """What one thread waits for; it runs in the context of whoever handed it in."""

    run: Callable[[], T]
    joint: Joint | None = None
    kept: threading.Event | None = None
    """Set by whoever waits, once the result is where no kill loses it."""
    done: Future[T] = field(default_factory=Future)
    context: Context = field(default_factory=copy_context)
    submitted: float = field(default_factory=time.monotonic)


class Line:
    """Handed in by any thread, taken by one. What was cancelled while it waited is passed over."""

    def __init__(self) -> None:
        self._urgent: deque[Work[Any]] = deque()
        self._bulk: deque[Work[Any]] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, work: Work[Any], *, bulk: bool) -> None:
        with self._changed:
            (self._bulk if bulk else self._urgent).append(work)
            self._changed.notify()

    def close(self) -> None:
        """What is in the line is still taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def __len__(self) -> int:
        with self._changed:
            return len(self._urgent) + len(self._bulk)

    @property
    def urgent(self) -> bool:
        """Whether interactive work waits."""
        with self._changed:
            return bool(self._urgent)

    def take(self) -> list[Work[Any]]:
        """The next batch, once there is one: the first in line and those that may join it.

        Those behind join in their order, up to the first that does not fit, and never interactive
        with bulk work: whoever waits for an answer does not wait for the night's. Nothing at the
        end of a closed line.
        """
        with self._changed:
            while True:
                lane = self._urgent or self._bulk
                if lane:
                    if batch := _batch(lane):
                        return batch
                elif self._closed:
                    return []
                else:
                    self._changed.wait()


def _batch(lane: deque[Work[Any]]) -> list[Work[Any]]:
    """Take the first in the lane that was not cancelled, and its company."""
    first = lane.popleft()
    if not first.done.set_running_or_notify_cancel():
        return []
    batch, joint = [first], first.joint
    if joint is None:
        return batch
    room = joint.room() - joint.cost
    for work in list(lane):
        if work.joint is None or work.joint.key != joint.key:
            continue
        room -= work.joint.cost
        if room < 0:
            break
        lane.remove(work)
        if work.done.set_running_or_notify_cancel():
            batch.append(work)
    return batch
