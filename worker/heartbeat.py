"""A worker says every half minute what it serves, so that a job without a worker can say so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from repick.errors import Unavailable
from repick.store.database import Connection, Database

log = structlog.get_logger(__name__)

EVERY_S = 30.0


@contextmanager
def heartbeat(database: Database, say: Callable[[Connection], None]) -> Iterator[None]:
    """Call `say` in a transaction now and then, in a thread, for as long as the block runs."""
    ending = threading.Event()

    def beat() -> None:
        while not ending.wait(EVERY_S):
            try:
                with database.begin() as connection:
                    say(connection)
            except Unavailable as exc:
                log.warning("no heartbeat", reason=exc.detail)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
