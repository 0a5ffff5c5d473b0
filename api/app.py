"""The application and what it holds open; nothing happens at import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry

from api import cors, openapi, problems
from api.body import BodyLimit, BodyLimits
from api.context import RequestContext
from api.metrics import DatabaseFigures, RequestFigures
from api.routes import (
    corpora,
    diffs,
    exports,
    health,
    items,
    jobs,
    models,
    rankings,
    reports,
    runs,
    schedules,
    standing,
    webhooks,
)
from api.services import opened
from repick.content.fetch import ImageFetcher
from repick.settings import Settings

DESCRIPTION = """
Rank a corpus of texts and images against a query of text, image, or both: `POST /v1/jobs`, then
poll the address it gives, or wait with `Prefer: wait=30`. Send `Authorization: Bearer rpk_…`.
Errors are `application/problem+json` with a stable `code`.
"""


# Looked through in this order for each request: those asked most come first.
_RESOURCES = (
    *(jobs, rankings, corpora, items, standing, schedules, runs, diffs, reports, exports),
    *(models, webhooks, health),
)


def create_app(settings: Settings, fetcher: ImageFetcher | None = None) -> FastAPI:
    """The API; servers are connected to when it starts, and may come up later than it."""
    registry = CollectorRegistry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with opened(settings, fetcher) as services:
            app.state.services = services
            figures = DatabaseFigures(services.all_tenants)
            registry.register(figures)
            try:
                yield
            finally:
                registry.unregister(figures)

    # Swagger's script and style from a wheel: the page works without a network.
    app = FastAPIOffline(
        title="Repick",
        version=version("repick"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        # A generated client's functions get our functions' names.
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.registry = registry
    app.state.stopping = lambda: False
    # The last one added is the outermost.
    limits = BodyLimits(settings.max_body_bytes, settings.max_bodies_bytes)
    app.add_middleware(BodyLimit, limits=limits)
    cors.install(app, settings.cors_origins)
    app.add_middleware(RequestContext, figures=RequestFigures(registry))
    for resource in _RESOURCES:
        app.include_router(resource.router)
    problems.install(app)
    openapi.install(app)
    return app
