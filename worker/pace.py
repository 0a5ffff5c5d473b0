"""How much work a batch may be: learned from how long the batches before it took.

The same settings serve a GPU and a slow CPU: a batch takes about `target_s`, far from the deadline
that ends the process, and a cancel is seen soon.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

GROWTH = 4
"""A batch is at most so many times the largest one measured."""


class Pace:
    """Sizes, in units of work such as tokens, for one device; threads share it."""

    def __init__(self, most: int, first: int = 1, target_s: float = 2.0) -> None:
        self._most, self._target_s = most, target_s
        self._size = first
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Units of the next batch; `first` before anything was measured."""
        return self._size

    def run(self, pieces: Sequence[T], units: Callable[[T], int]) -> Sequence[T]:
        """The longest run from the front whose units fit a batch; at least one piece."""
        total = 0
        for count, piece in enumerate(pieces):
            total += units(piece)
            if count and total > self._size:
                return pieces[:count]
        return pieces

    def timed(self, work: Callable[[], R], units: int) -> R:
        """Do a batch and learn from it; to be called on the device thread."""
        started = time.perf_counter()
        result = work()
        self.learn(units, time.perf_counter() - started)
        return result

    def learn(self, units: int, seconds: float) -> None:
        fits = self._target_s * units / max(seconds, 1e-6)
        with self._lock:
            most = min(self._most, GROWTH * max(units, self._size))
            self._size = max(1, min(most, int(fits)))
