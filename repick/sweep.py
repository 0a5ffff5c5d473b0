"""The sweep: its own process, which publishes again what waits or lost its lease.

It only asks Postgres and publishes ids, so any number of sweeps may run, and a sweep may die at
any point; the next one goes on from what the database says.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from repick import nightly, telemetry
from repick.errors import NotFound, NotMigrated, Unavailable
from repick.jobs import Slice, bulk_queue
from repick.logs import configure
from repick.media import media_store
from repick.metrics import SweepFigures, serve
from repick.queue import depth, make_app, publish, publish_embedding
from repick.retention import Retention, ages
from repick.settings import Settings, service_settings
from repick.store import (
    embeddings,
    endings,
    idempotency,
    schema,
    slices,
    spaces,
    stages,
    unembedded,
    waiting,
)
from repick.store.database import Database
from repick.store.registry import UNSERVED
from repick.store.unembedded import WaitingSpace
from repick.webhooks.delivery import deliver

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sweep:
    settings: Settings
    database: Database
    app: Celery
    figures: SweepFigures = field(default_factory=lambda: SweepFigures(CollectorRegistry()))

    def tick(self) -> int:
        """One round; gives how many messages were published. Raises Unavailable."""
        nightly.sweep(self.database, self.settings)
        with self.database.begin() as connection:
            filling = list(unembedded.waiting(connection))
        published = self._publish_slices(filling) + self._publish_embeddings(filling)
        self._end_late()
        self._end_lost()
        self.figures.tick(published)
        return published

    def _end_late(self) -> None:
        with self.database.begin() as connection:
            late = endings.end_late(connection)
        for job_id in late:
            log.warning("job ended", job_id=str(job_id), reason="time_limit")

    def _end_lost(self) -> None:
        """End what three workers died over, a transaction each: one large job delays no other."""
        with self.database.begin() as connection:
            embeddings.end_lost(connection)
            embeddings.retry(connection)
            endings.clear_ended(connection)
            idempotency.forget(connection)
            stages.warn_unserved(connection, UNSERVED)
        while ended := self._end_one():
            log.error(
                "slice ended",
                job_id=str(ended.job_id),
                stage=ended.stage,
                slice=ended.no,
                trace_id=telemetry.trace_id(ended.trace) if ended.trace else None,
            )

    def _end_one(self) -> Slice | None:
        with self.database.begin() as connection:
            ended = slices.lost(connection)
            if ended is None:
                return None
            opened = stages.close_failed(connection, ended, self.settings.slice_pairs)
        if opened is not None:
            publish(self.app, opened)
        return ended

    def _publish_slices(self, filling: Sequence[WaitingSpace]) -> int:
        """Publish what is due, but never more than wait beyond the messages that are there.

        Where messages of items to embed are among those, nobody can tell how many are of slices.
        """
        with self.database.begin() as connection:
            waited_for = waiting.queues_waited_for(connection)
        depths = self._depths(waited_for)
        shared = {bulk_queue(space.queue) for space in filling}
        missing = {
            queue: waited_for[queue] - (0 if queue in shared else n) for queue, n in depths.items()
        }
        empty = [queue for queue, n in depths.items() if n == 0]
        full = [queue for queue, n in missing.items() if n <= 0]
        with self.database.begin() as connection:
            due = waiting.due(connection, empty, full)
        published = 0
        for dispatch in due:
            if missing.get(dispatch.queue, 1) > 0 and publish(self.app, dispatch):
                missing[dispatch.queue] = missing.get(dispatch.queue, 1) - 1
                published += 1
        return published

    def _publish_embeddings(self, filling: Sequence[WaitingSpace]) -> int:
        depths = self._depths({bulk_queue(space.queue) for space in filling})
        idle = [space for space in filling if depths.get(bulk_queue(space.queue)) == 0]
        return sum(publish_embedding(self.app, space.space_id, space.queue, 4) for space in idle)

    def _depths(self, queues: Iterable[str]) -> dict[str, int]:
        """Messages that wait in the broker, by queue; nothing where it does not answer."""
        try:
            return {queue: depth(self.app, queue) for queue in queues}
        except (OperationalError, RedisError, OSError) as exc:
            log.warning("broker does not answer", reason=type(exc).__name__)
            return {}


def build_indexes(settings: Settings, stopping: threading.Event) -> None:
    """Build the HNSW index of each space that has outgrown exact search, one at a time."""
    database = Database(settings.database_url, connections=2, statement_timeout_s=0)
    while not stopping.wait(settings.sweep_interval_s):
        try:
            with database.autocommit() as connection:
                for space in spaces.outgrown(connection, settings.exact_search_rows):
                    log.info("building index", space=space.id, dimension=space.dimension)
                    spaces.build_index(connection, space)
        except (Unavailable, NotFound) as exc:
            log.warning("no index built", reason=exc.detail)
    database.close()


def collect(settings: Settings, stopping: threading.Event) -> None:
    """Make and drop weeks of jobs, and collect what nothing refers to, every ten minutes."""
    database = Database(settings.database_url, connections=2)
    retention = Retention(database, media_store(settings), ages(settings))
    while True:
        try:
            retention.run(datetime.now(UTC))
        except Unavailable as exc:
            log.warning("retention put off", reason=exc.detail)
        if stopping.wait(settings.retention_interval_s):
            break
    database.close()


def main() -> int:
    """`python -m repick.sweep`: tick until SIGTERM. A defect ends the process, not its work."""
    configure("sweep")
    settings = service_settings("database_url", "broker_url")
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    registry = CollectorRegistry()
    figures = SweepFigures(registry)
    serve(settings, registry)
    database, app = Database(settings.database_url), make_app(settings.broker_url)
    try:
        await_schema(database, settings.sweep_interval_s, stopping)
    except NotMigrated as exc:
        log.critical("refusing to sweep", code=exc.code, reason=exc.detail)
        return 3
    sweep = Sweep(settings, database, app, figures)
    helpers = [
        threading.Thread(target=helper, args=(settings, stopping), name=helper.__name__)
        for helper in (build_indexes, deliver, collect)
    ]
    for helper in helpers:
        helper.start()
    log.info("sweeping", every_s=settings.sweep_interval_s)
    try:
        run(sweep, helpers, stopping)
    finally:
        stopping.set()
        for helper in helpers:
            helper.join()
    return 0


def await_schema(database: Database, every_s: float, stopping: threading.Event) -> None:
    """Until Postgres answers. Raises NotMigrated where it does and the schema is not there."""
    while not stopping.is_set():
        try:
            with database.read() as connection:
                schema.require(connection)
            return
        except NotMigrated:
            raise
        except Unavailable as exc:
            log.warning("database does not answer", reason=exc.detail)
            stopping.wait(every_s)


def run(sweep: Sweep, helpers: Sequence[threading.Thread], stopping: threading.Event) -> None:
    while not stopping.is_set():
        for helper in helpers:
            if not helper.is_alive():
                raise RuntimeError(f"the thread {helper.name} has died")
        try:
            sweep.tick()
        except Unavailable as exc:
            log.warning("database does not answer", reason=exc.detail)
        stopping.wait(sweep.settings.sweep_interval_s)


if __name__ == "__main__":
    sys.exit(main())
