"""What every request may use: opened when the application starts, closed when it stops."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import structlog
from anyio import CapacityLimiter
from celery import Celery
from fastapi import Request

from api import backpressure, readiness
from api.backpressure import Backlog, Rates
from api.open_answers import OpenAnswers
from api.pages import Cursors
from api.publisher import Publisher
from api.readiness import Readiness
from api.scorers import Scorers
from api.turns import Shared, Turns
from repick.content import ImageInspector, ImagePolicy, parse_hosts
from repick.content.fetch import ImageFetcher
from repick.media import MediaStore, media_store
from repick.queue import make_app
from repick.settings import Settings
from repick.store.database import Database
from repick.store.tenancy import Role

log = structlog.get_logger(__name__)

UPLOADS_AT_ONCE, UPLOADS_OF_TENANT = 8, 4
INGESTS_AT_ONCE = 8
LONG_READS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    database: Database
    """Shows the rows of the request's tenant alone."""
    all_tenants: Database
    """For the operator's figures; no request's answer comes from here."""
    media: MediaStore
    inspector: ImageInspector
    fetcher: ImageFetcher
    broker: Celery
    publisher: Publisher
    cursors: Cursors
    backlog: Backlog
    rates: Rates
    scorers: Scorers
    turns: Turns
    """Jobs: polls, and submits without images."""
    uploads: Shared
    """Requests whose images are being verified, or whose body is large: they wait for more than
    Postgres, and must not take every thread from polling."""
    ingests: Shared
    """Requests that put items: a core is left to whoever embeds them, and to everybody else. Two of
    a tenant at least, so that one computes while another waits for the disk; one more of others."""
    long_reads: CapacityLimiter
    """Threads that read many rankings at once (exports, streams, comparisons, histories, reports):
    they hold a connection and the interpreter for long, and must not have all from polling."""
    open_answers: OpenAnswers
    readiness: Readiness


@contextmanager
def opened(settings: Settings, fetcher: ImageFetcher | None = None) -> Iterator[Services]:
    """`fetcher` in the place of the settings' own, as one with another way to the network."""
    database = Database(settings.database_url, role=Role.API)
    all_tenants = Database(settings.database_url, connections=2, role=Role.SERVICE)
    inspector = ImageInspector(ImagePolicy.from_settings(settings))
    broker = make_app(settings.broker_url)
    publisher = Publisher(broker)
    ingests = max(2, min(INGESTS_AT_ONCE, cores() - 1))
    try:
        yield Services(
            settings,
            database,
            all_tenants,
            media_store(settings),
            inspector,
            fetcher or image_fetcher(settings),
            broker,
            publisher,
            Cursors(_secret(settings)),
            backpressure.backlog(settings, all_tenants),
            Rates(settings.requests_per_s),
            Scorers(database),
            Turns(),
            Shared(UPLOADS_AT_ONCE, UPLOADS_OF_TENANT),
            Shared(ingests + 1, of_tenant=ingests),
            CapacityLimiter(LONG_READS_AT_ONCE),
            OpenAnswers(settings.max_streams, settings.max_streams_of_tenant),
            Readiness(partial(readiness.look, database, broker)),
        )
    finally:
        publisher.close()
        inspector.close()
        broker.close()
        database.close()
        all_tenants.close()


async def services_of(request: Request) -> Services:
    """A dependency: the application's services. Async, as any that does not wait: FastAPI hands
    others to a thread, which costs more than they do."""
    return cast(Services, request.app.state.services)


def cores() -> int:
    """That this process may use, where the system says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def image_fetcher(settings: Settings) -> ImageFetcher:
    """Raises ValueError where the allowed hosts are not names."""
    return ImageFetcher(
        parse_hosts(settings.url_hosts),
        max_bytes=settings.max_image_bytes,
        max_bytes_together=settings.max_body_bytes,
        seconds=settings.url_timeout_s,
    )


def _secret(settings: Settings) -> str:
    given = settings.secret.get_secret_value()
    if not given:
        log.warning("REPICK_SECRET is not set: cursors end with this process")
    return given or secrets.token_urlsafe(32)
