"""What every worker process is made of: its runtime, and the loop that consumes its queues."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog
from celery.concurrency import get_implementation
from celery.exceptions import SecurityWarning
from celery.signals import worker_ready
from prometheus_client import CollectorRegistry

from repick import telemetry
from repick.media import media_store
from repick.metrics import WorkerFigures, serve
from repick.queue import make_app
from repick.settings import Settings
from repick.store import schema
from repick.store.database import Connection, Database
from repick.store.tenancy import Role
from worker.device import Device
from worker.events import EventsTogether
from worker.heartbeat import heartbeat
from worker.runtime import Runtime, owner_name

log = structlog.get_logger(__name__)

SWITCH_S = 0.001
"""How long a thread keeps the interpreter while others wait: threads that prepare come back from
Postgres again and again, and must not wait Python's 5 ms behind each other every time."""


@contextmanager
def opened(settings: Settings, role: str, queues: Sequence[str]) -> Iterator[Runtime]:
    """Servers, media and the device thread of one worker; `queues` in the order of service.

    Raises Unavailable where the media store's address cannot be used or the database does not
    answer, NotMigrated where its schema is not there.
    """
    app = make_app(settings.broker_url, queues)
    app.conf.worker_consumer = "worker.messages:OwnMessages"
    app.steps["consumer"].add(EventsTogether)
    database = Database(settings.database_url, role=Role.SERVICE)
    registry = CollectorRegistry()
    figures = WorkerFigures(registry)
    telemetry.configure(role)
    try:
        with database.read() as connection:
            schema.require(connection)
        with Device(settings.batch_deadline_s, on_batch=figures.batch) as device:
            media = media_store(settings)
            serve(settings, registry)
            yield Runtime(settings, database, media, app, device, owner_name(role), figures)
    finally:
        database.close()


def consume(runtime: Runtime, served: Callable[[Connection], None], **facts: object) -> int:
    """Serve until SIGTERM, with a heartbeat that tells what; what has begun is finished first.

    `serving` is logged, with these facts, once it is true: from then on SIGTERM is a request. Gives
    the exit code: 0 where it was asked to end.
    """

    def ready(**_: object) -> None:
        worker_ready.disconnect(ready)  # it comes again with every connection to the broker
        log.info("serving", **facts)

    worker_ready.connect(ready, weak=False)
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()  # what is here stays for good: torch alone takes .2 s to look through
    # Its warning about root is about pickled messages, which are refused.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = runtime.app.Worker(
        hostname=runtime.owner,
        pool_cls=get_implementation("threads"),
        concurrency=runtime.settings.worker_threads,
        loglevel="WARNING",
        quiet=True,
        # Workers have nothing to tell each other: what they share is in Postgres.
        without_mingle=True,
        without_gossip=True,
    )
    with heartbeat(runtime.database, served):
        worker.start()
    return int(worker.exitcode or 0)
