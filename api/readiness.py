"""Whether the process can do its work: its servers are asked once at a time, whoever probes it.

A broker that is away takes a thread for two seconds, and `/readyz` asks no key of anybody.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from celery import Celery
from starlette.concurrency import run_in_threadpool

from repick import queue
from repick.errors import Unavailable
from repick.store import schema
from repick.store.database import Database

FRESH_S = 1.0
"""How long an answer is told again."""
Found = Mapping[str, str]


@dataclass(slots=True)
class Readiness:
    """For one event loop."""

    look: Callable[[], Found]
    clock: Callable[[], float] = time.monotonic
    _found: Found = field(default_factory=dict)
    _at: float = -math.inf
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self) -> Found:
        """What `look` found, now or just before."""
        async with self._one:
            if self.clock() - self._at >= FRESH_S:
                self._found = await run_in_threadpool(self.look)
                self._at = self.clock()
            return self._found


def look(database: Database, broker: Celery) -> Found:
    """Postgres has to answer and have this code's schema; the broker is only told of."""
    state = _state(database)
    return {
        "status": "ok" if state == "ok" else "unavailable",
        "database": state,
        "broker": "ok" if queue.answers(broker) else "unavailable",
    }


def _state(database: Database) -> str:
    try:
        with database.begin() as connection:
            current = schema.current(connection)
    except Unavailable:
        return "unavailable"
    return "ok" if current == schema.head() else "not migrated"
