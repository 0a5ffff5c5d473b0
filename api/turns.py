"""Whose turn it is where more ask than can be served: whoever polls goes before whoever submits.

Requests are threads that share one interpreter. A submit keeps it longer than a poll, and a client
that submits without a pause has always one more: left to themselves, submits would take most turns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

MOST, LEAST = 8, 2
Answer = TypeVar("Answer")


class Turns:
    """At most MOST requests at work on jobs: submits have what polls leave, and LEAST at least, so
    that one computes while another waits for the disk. For one event loop."""

    def __init__(self) -> None:
        self._polls = 0
        self._submits = CapacityLimiter(MOST)

    async def poll(self, work: Callable[[], Answer]) -> Answer:
        """`work`'s answer, from a thread of its own, at once."""
        self._count(1)
        try:
            return await to_thread.run_sync(work)
        finally:
            self._count(-1)

    async def submit(self, work: Callable[[], Answer]) -> Answer:
        """`work`'s answer, from a thread of its own, once it is its turn."""
        return await to_thread.run_sync(work, limiter=self._submits)

    def _count(self, change: int) -> None:
        self._polls += change
        self._submits.total_tokens = max(LEAST, MOST - self._polls)


class Shared:
    """At most `most` requests at work, `of_tenant` of one tenant: whose own take long keep only
    their own waiting. For one event loop."""

    def __init__(self, most: int, of_tenant: int) -> None:
        self.most, self.of_tenant = most, of_tenant
        self._all = CapacityLimiter(most)
        self._each: defaultdict[int, CapacityLimiter] = defaultdict(
            lambda: CapacityLimiter(of_tenant)
        )

    async def run(self, tenant_id: int, work: Callable[[], Answer]) -> Answer:
        """`work`'s answer, from a thread of its own, once it is its turn."""
        async with self._each[tenant_id]:
            return await to_thread.run_sync(work, limiter=self._all)
