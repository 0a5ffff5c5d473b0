"""Messages after the commit, by a thread of their own: no request waits for the broker.

Nothing is lost by not publishing: the sweep publishes whatever waits. So a broker that is down, a
process that ends with messages unsent, and more messages than the thread has room for cost
seconds, never a job.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress

from celery import Celery

from repick import queue
from repick.queue import Message
from repick.store.slices import Dispatch

PAUSE_S = 5.0
MOST_WAITING = 10_000
AT_ONCE = 100
GATHER_S = 0.01
"""Between two sendings. A message alone goes at once; where many come, those of this time go
together in one round trip."""
STOP_S = 5.0
EMBED_BATCH = 128
MAX_EMBED_MESSAGES = 8


class Publisher:
    """Takes messages from any thread; after a failure it leaves the broker alone for a while."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._waiting: deque[Message] = deque(maxlen=MOST_WAITING)
        self._something = threading.Event()
        self._stopping = False
        self._paused_until = 0.0
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def job(self, dispatch: Dispatch) -> None:
        self._put(queue.job_message(dispatch), dispatch.count)

    def embedding(self, space_id: int, queue_name: str, waiting: int) -> None:
        """One message a batch of items that wait; a few are enough to start with."""
        count = min(MAX_EMBED_MESSAGES, -(-waiting // EMBED_BATCH))
        self._put(queue.embedding_message(space_id, queue_name), count)

    def close(self) -> None:
        """Send what waits, for as long as that takes a broker that answers, and stop."""
        self._stopping = True
        self._something.set()
        self._thread.join(STOP_S)

    def _put(self, message: Message, count: int) -> None:
        if time.monotonic() < self._paused_until:
            return
        self._waiting.extend([message] * count)
        self._something.set()

    def _run(self) -> None:
        sent_at = 0.0
        while not (self._stopping and not self._waiting):
            self._something.wait()
            self._something.clear()
            if not self._stopping:
                time.sleep(max(0.0, sent_at + GATHER_S - time.monotonic()))
            while batch := self._taken():
                if not queue.send(self._app, batch):
                    self._paused_until = time.monotonic() + PAUSE_S
                    self._waiting.clear()
                sent_at = time.monotonic()

    def _taken(self) -> list[Message]:
        batch: list[Message] = []
        with suppress(IndexError):  # nothing waits any more
            while len(batch) < AT_ONCE:
                batch.append(self._waiting.popleft())
        return batch
