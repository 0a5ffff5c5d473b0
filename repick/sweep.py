"""The sweep: its own process, which publishes again what waits or lost its lease.

It only asks Postgres and publishes ids, so any number of sweeps may run, and a sweep may die at
any point; the next one goes on from what the database says.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from repick.errors import Unavailable
from repick.jobs import bulk_queue
from repick.logs import configure
from repick.queue import depth, make_app, publish, publish_embedding
from repick.settings import Settings
from repick.store import embeddings, idempotency, slices, spaces, stages
from repick.store.database import Database

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sweep:
    settings: Settings
    database: Database
    app: Celery

    def tick(self) -> int:
        """One round; gives how many messages were published. Raises Unavailable."""
        self._end_late()
        self._end_lost()
        return self._publish_slices() + self._publish_embeddings()

    def _end_late(self) -> None:
        with self.database.begin() as connection:
            late = stages.end_late(connection)
        for job_id in late:
            log.warning("job ended", job_id=str(job_id), reason="time_limit")

    def _end_lost(self) -> None:
        with self.database.begin() as connection:
            embeddings.end_lost(connection)
            stages.clear_ended(connection)
            idempotency.forget(connection)
            ended = slices.lost(connection)
            opened = [
                stages.close_failed(connection, one, self.settings.slice_pairs) for one in ended
            ]
        for one in ended:
            log.error("slice ended", job_id=str(one.job_id), stage=one.stage, slice=one.no)
        for dispatch in filter(None, opened):
            publish(self.app, dispatch)

    def _publish_slices(self) -> int:
        with self.database.begin() as connection:
            waited_for = slices.queues_waited_for(connection)
        empty = self._empty(waited_for)
        with self.database.begin() as connection:
            due = slices.due(connection, empty)
        return sum(publish(self.app, dispatch) for dispatch in due)

    def _publish_embeddings(self) -> int:
        with self.database.begin() as connection:
            waiting = list(embeddings.waiting(connection))
        empty = set(self._empty({bulk_queue(space.queue) for space in waiting}))
        idle = [space for space in waiting if bulk_queue(space.queue) in empty]
        return sum(publish_embedding(self.app, space.space_id, space.queue, 4) for space in idle)

    def _empty(self, queues: Iterable[str]) -> list[str]:
        try:
            return [queue for queue in queues if depth(self.app, queue) == 0]
        except (OperationalError, RedisError, OSError) as exc:
            log.warning("broker does not answer", reason=type(exc).__name__)
            return []


def build_indexes(settings: Settings, stopping: threading.Event) -> None:
    """Build the HNSW index of each space that has outgrown exact search, one at a time."""
    database = Database(settings.database_url, pool_size=1, statement_timeout_s=0)
    while not stopping.wait(settings.sweep_interval_s):
        try:
            with database.autocommit() as connection:
                for space in spaces.outgrown(connection, settings.exact_search_rows):
                    log.info("building index", space=space.id, dimension=space.dimension)
                    spaces.build_index(connection, space)
        except Unavailable as exc:
            log.warning("no index built", reason=exc.detail)
    database.close()


def main() -> None:
    """`python -m repick.sweep`: tick until SIGTERM."""
    configure("sweep")
    settings = Settings()
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sweep = Sweep(settings, Database(settings.database_url), make_app(settings.broker_url))
    builder = threading.Thread(target=build_indexes, args=(settings, stopping), name="indexes")
    builder.start()
    log.info("sweeping", every_s=settings.sweep_interval_s)
    while not stopping.is_set():
        try:
            sweep.tick()
        except Unavailable as exc:
            log.warning("database does not answer", reason=exc.detail)
        stopping.wait(settings.sweep_interval_s)
    builder.join()


if __name__ == "__main__":
    main()
