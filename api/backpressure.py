"""How much may wait, and how fast a key may ask: 429 with Retry-After.

A job costs at most queries times k pairs. What unfinished jobs (beside nightly ones, which their
schedule makes) cost is read from Postgres at most once in REFRESH_S, through an index of its own,
and so cannot drift; in between this process adds what it accepts. Several API processes together
may pass a limit by what each accepts within one such time. A limit on an empty queue refuses
nothing: a job larger than the limit is taken when it would be the only one.

Rates are counted in each process by itself: n processes allow n times as much.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from api.problems import HttpError
from repick.settings import Settings
from repick.store import figures
from repick.store.database import Database

REFRESH_S = 0.5
QUEUE_FULL_RETRY_S = 10
Clock = Callable[[], float]


@dataclass(slots=True)
class Backlog:
    """Pairs that wait, by tenant; any thread may use it."""

    read: Callable[[], Mapping[int, int]]
    per_tenant: int
    total: int
    clock: Clock = time.monotonic
    _known: Counter[int] = field(default_factory=Counter)
    _coming: Counter[int] = field(default_factory=Counter)
    _read_at: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def reserved(self, tenant_id: int, pairs: int) -> Iterator[None]:
        """Room for a job while it is being committed. Raises HttpError 429 `queue_full`."""
        with self._lock:
            self._refresh()
            self._check(tenant_id, pairs)
            self._coming[tenant_id] += pairs
        try:
            yield
            with self._lock:
                self._known[tenant_id] += pairs
        finally:
            with self._lock:
                self._coming[tenant_id] -= pairs

    def _refresh(self) -> None:
        if self.clock() - self._read_at >= REFRESH_S:
            self._known = Counter(self.read())
            self._read_at = self.clock()

    def _check(self, tenant_id: int, pairs: int) -> None:
        mine = self._known[tenant_id] + self._coming[tenant_id]
        everybody = self._known.total() + self._coming.total()
        for whose, waiting, most in (
            ("your jobs", mine, self.per_tenant),
            ("the service", everybody, self.total),
        ):
            if waiting and waiting + pairs > most:
                detail = f"{waiting} pairs of {whose} wait, of at most {most}; try again later"
                headers = {"Retry-After": str(QUEUE_FULL_RETRY_S)}
                raise HttpError(429, "queue_full", detail, headers)


@dataclass(slots=True)
class Rates:
    """A token bucket a key: `per_s` requests each second, twice as many at once; 0 is no limit."""

    per_s: float
    clock: Clock = time.monotonic
    _left: dict[int, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key_id: int) -> None:
        """Count one request of a key. Raises HttpError 429 `rate_limited`."""
        if not self.per_s:
            return
        now, most = self.clock(), max(1.0, 2 * self.per_s)
        with self._lock:
            left, at = self._left.get(key_id, (most, now))
            left = min(most, left + (now - at) * self.per_s)
            taken = left >= 1
            self._left[key_id] = (left - taken, now)
        if not taken:
            wait = math.ceil((1 - left) / self.per_s)
            detail = f"over {self.per_s:g} requests a second with this key"
            raise HttpError(429, "rate_limited", detail, {"Retry-After": str(wait)})


def backlog(settings: Settings, database: Database) -> Backlog:
    def read() -> Mapping[int, int]:
        with database.read() as connection:
            return figures.backlog(connection)

    return Backlog(read, settings.max_queued_pairs_of_tenant, settings.max_queued_pairs)
