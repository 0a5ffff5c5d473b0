"""Messages after the commit. A broker that is down costs one request in five seconds its patience.

Nothing is lost by not publishing: the sweep publishes whatever waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from celery import Celery

from repick import queue
from repick.store.slices import Dispatch

PAUSE_S = 5.0
EMBED_BATCH = 32
MAX_EMBED_MESSAGES = 8


class Publisher:
    """Publishes from any thread; after a failure it leaves the broker alone for a while."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._paused_until = 0.0

    def job(self, dispatch: Dispatch) -> bool:
        return self._attempt(lambda: queue.publish(self._app, dispatch))

    def embedding(self, space_id: int, queue_name: str, waiting: int) -> bool:
        """One message a batch of items that wait; a few are enough to start with."""
        count = min(MAX_EMBED_MESSAGES, -(-waiting // EMBED_BATCH))
        return self._attempt(
            lambda: queue.publish_embedding(self._app, space_id, queue_name, count)
        )

    def _attempt(self, publish: Callable[[], bool]) -> bool:
        if time.monotonic() < self._paused_until:
            return False
        published = publish()
        if not published:
            self._paused_until = time.monotonic() + PAUSE_S
        return published
