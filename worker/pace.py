"""How large a batch may be: learned from how long the batches before it took.

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
    """Sizes for one kind of work on one device; threads share it."""

    def __init__(self, most: int, target_s: float = 2.0) -> None:
        self._most, self._target_s = most, target_s
        self._size = 1
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Pieces of the next batch; 1 before anything was measured."""
        return self._size

    def timed(self, run: Callable[[Sequence[T]], R], pieces: Sequence[T]) -> R:
        """Run a batch and learn from it; to be called on the device thread."""
        started = time.perf_counter()
        result = run(pieces)
        self.learn(len(pieces), time.perf_counter() - started)
        return result

    def learn(self, count: int, seconds: float) -> None:
        fits = self._target_s * count / max(seconds, 1e-6)
        with self._lock:
            most = min(self._most, GROWTH * max(count, self._size))
            self._size = max(1, min(most, int(fits)))
