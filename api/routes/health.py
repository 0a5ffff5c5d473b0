"""For load balancers and Prometheus; without a key, and without a secret in any answer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.services import Services, services_of
from repick import queue
from repick.errors import Unavailable
from repick.store import schema

router = APIRouter(tags=["health"])

Serviced = Annotated[Services, Depends(services_of)]


@router.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """A browser is shown the docs."""
    return RedirectResponse("/docs")


@router.get("/livez")
async def live() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Postgres or its schema is not ready."}})
def ready(services: Serviced) -> JSONResponse:
    """Postgres answers and has this code's schema. The broker is reported, not required."""
    database = _database(services)
    parts: dict[str, Any] = {
        "status": "ok" if database == "ok" else "unavailable",
        "database": database,
        "broker": "ok" if queue.answers(services.broker) else "unavailable",
    }
    return JSONResponse(parts, 200 if database == "ok" else 503)


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


def _database(services: Services) -> str:
    try:
        with services.database.begin() as connection:
            current = schema.current(connection)
    except Unavailable:
        return "unavailable"
    return "ok" if current == schema.head() else "not migrated"
