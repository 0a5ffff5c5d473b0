"""What a shared front part of prompts leaves behind in every layer, computed once (METHOD §2).

A prefix never grows and is never written again: pairs concatenate their own keys to a view of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from worker.fine.lru import ByteLRU
from worker.fine.prompts import Segment

Key = tuple[Segment, ...]
"""The segments from the prompt's first to the prefix's last; images by their pixels' identity."""


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """Keys and values (K, n, d) of a run of n tokens in each layer, rotated to their positions.

    `before` is the prefix that it continues; `end` the position at which the next token stands.
    """

    length: int
    end: int
    before: Prefix | None
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    @property
    def chain(self) -> tuple[Prefix, ...]:
        """All that a token behind it attends to, front to back."""
        return (*(self.before.chain if self.before else ()), self)

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (*self.keys, *self.values))

    def record(self, key: Tensor, value: Tensor) -> None:
        """Add the next layer's keys and values; copied, so that the batch's own can go."""
        self.keys.append(key.clone())
        self.values.append(value.clone())


class PrefixStore:
    """The prefixes used last, within a budget of bytes on the device."""

    def __init__(self, budget: int) -> None:
        self._kept: ByteLRU[Key, Prefix] = ByteLRU(budget, lambda prefix: prefix.nbytes)

    def get(self, key: Sequence[Segment]) -> Prefix | None:
        return self._kept.get(tuple(key))

    def put(self, key: Sequence[Segment], prefix: Prefix) -> None:
        self._kept.put(tuple(key), prefix)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and key in self._kept

    @property
    def nbytes(self) -> int:
        return self._kept.used

    def clear(self) -> None:
        self._kept.clear()
