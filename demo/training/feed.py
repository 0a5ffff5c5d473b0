"""Batches made ahead by worker processes, in the order of their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

B = TypeVar("B")


class Steps(Dataset[B], Generic[B]):
    """A step's number to its batch; what is made depends on the number alone."""

    def __init__(self, make: Callable[[int], B]) -> None:
        self._make = make

    def __getitem__(self, step: int) -> B:
        return self._make(step)


def feed(make: Callable[[int], B], first: int, last: int, workers: int) -> Iterator[tuple[int, B]]:
    """Each step from `first` to before `last` with its batch, made by so many processes or here."""
    steps = range(first, last)
    if workers == 0:
        yield from ((step, make(step)) for step in steps)
        return
    loader: Any = DataLoader(
        Steps(make), batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=4
    )
    yield from zip(steps, loader, strict=True)
