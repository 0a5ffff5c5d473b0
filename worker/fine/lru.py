"""A cache that keeps what was used last within a budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteLRU(Generic[K, V]):
    """Values by key, the least recently used dropped first; thread-safe.

    `size` gives a value's bytes. A value larger than the whole budget is not kept, so that
    `used <= budget` always holds. `evicted` receives what falls out, if given.
    """

    def __init__(
        self,
        budget: int,
        size: Callable[[V], int],
        evicted: Callable[[K, V], None] | None = None,
    ) -> None:
        self.budget, self.used = budget, 0
        self._size, self._evicted = size, evicted
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        with self._lock:
            return key in self._values

    def get(self, key: K) -> V | None:
        """The value, which is then the most recently used; None where it is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value in the place of any older one of its key."""
        out: list[tuple[K, V]] = []
        with self._lock:
            if key in self._values:
                self.used -= self._size(self._values.pop(key))
            size = self._size(value)
            if size > self.budget:
                out.append((key, value))
            else:
                self._values[key] = value
                self.used += size
                out += self._shrink()
        if self._evicted is not None:
            for one in out:
                self._evicted(*one)

    def _shrink(self) -> list[tuple[K, V]]:
        out = []
        while self.used > self.budget:
            key, value = self._values.popitem(last=False)
            self.used -= self._size(value)
            out.append((key, value))
        return out

    def clear(self) -> None:
        """Drop everything, without telling `evicted`."""
        with self._lock:
            self._values.clear()
            self.used = 0
