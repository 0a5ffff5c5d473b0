"""For load balancers and Prometheus; without a key, and without a secret in any answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.services import Services, services_of

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
async def ready(services: Serviced) -> JSONResponse:
    """Postgres answers and has this code's schema. The broker is reported, not required."""
    found = await services.readiness.answer()
    return JSONResponse(found, 200 if found["status"] == "ok" else 503)


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
