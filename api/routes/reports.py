"""A run's report, as a page."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from api import openapi
from api.auth import Reader
from api.long_reads import in_turn
from api.services import Services, services_of
from repick.reports.gather import gather
from repick.reports.page import html

router = APIRouter(prefix="/v1/runs", tags=["schedules"])

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"


@router.get("/{run}/report", response_class=HTMLResponse, responses=openapi.REPORT)
async def run_report(
    who: Reader, services: Annotated[Services, Depends(services_of)], run: UUID
) -> HTMLResponse:
    """One file without scripts: figures, what changed, churn, movers with pictures, failures."""

    def page() -> str:
        return html(gather(services.database, services.media, who.tenant_id, run))

    made = await in_turn(services, page)
    return HTMLResponse(made, headers={"Content-Security-Policy": _POLICY})
