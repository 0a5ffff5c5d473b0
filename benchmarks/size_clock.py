"""How long something takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")

REPEATS = 50


def seconds(do: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    found = do()
    return time.perf_counter() - started, found


def p95_ms(do: Callable[[int], object]) -> float:
    """The 95th percentile of REPEATS calls, each with its number."""
    taken = sorted(seconds(partial(do, no))[0] * 1000 for no in range(REPEATS))
    return taken[int(0.95 * len(taken))]
