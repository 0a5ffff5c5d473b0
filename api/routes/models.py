"""Encoders and scorers that workers have registered, and the tenant's calibrations of scorers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.concurrency import run_in_threadpool

from api import openapi
from api.auth import Administrator, Reader
from api.drafts import check_metadata
from api.payload import read_json
from api.schemas import CALIBRATION_EXAMPLE, CalibrationRequest
from api.services import Services, services_of
from api.views import CalibrationOut, ModelOut, ModelsOut
from repick.calibration import Map, parse
from repick.errors import InvalidField, NotFound
from repick.specs import Readout
from repick.store import calibrations, registry

router = APIRouter(prefix="/v1", tags=["models"])

Serviced = Annotated[Services, Depends(services_of)]
Fingerprint = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@router.get("/encoders", response_model=ModelsOut, responses=openapi.errors())
def list_encoders(who: Reader, services: Serviced) -> ModelsOut:
    """Every encoder ever registered, with its full specification."""
    with services.database.begin() as connection:
        found = registry.encoders(connection)
    return ModelsOut(items=[ModelOut.of(one) for one in found])


@router.get("/scorers", response_model=ModelsOut, responses=openapi.errors())
def list_scorers(who: Reader, services: Serviced) -> ModelsOut:
    """Every scorer ever registered, with its full specification."""
    with services.database.begin() as connection:
        found = registry.scorers(connection)
    return ModelsOut(items=[ModelOut.of(one) for one in found])


@router.get(
    "/scorers/{fingerprint}/calibration",
    response_model=CalibrationOut,
    responses=openapi.errors(404),
)
def show_calibration(who: Reader, services: Serviced, fingerprint: Fingerprint) -> CalibrationOut:
    """The calibration that this tenant put last for the scorer."""
    return _calibration(services, who.tenant_id, fingerprint)


@router.put(
    "/scorers/{fingerprint}/calibration",
    response_model=CalibrationOut,
    responses=openapi.errors(400, 404, 413, 415),
    openapi_extra=openapi.json_body(CalibrationRequest, isotonic={"value": CALIBRATION_EXAMPLE}),
)
async def put_calibration(
    request: Request, who: Administrator, services: Serviced, fingerprint: Fingerprint
) -> CalibrationOut:
    """Put a calibration in the place of the last; hits show its `probability` from now on."""
    wanted = await read_json(request, CalibrationRequest)
    one = parse(wanted.map)
    check_metadata(wanted.figures, "figures")

    def work() -> CalibrationOut:
        _put(services, who.tenant_id, fingerprint, one, wanted.figures)
        return _calibration(services, who.tenant_id, fingerprint)

    return await run_in_threadpool(work)


def _put(
    services: Services, tenant_id: int, fingerprint: str, one: Map, figures: dict[str, Any]
) -> None:
    with services.database.begin() as connection:
        scorer = registry.scorer_identified(connection, fingerprint)
        if scorer is None:
            raise _no_scorer()
        if scorer.specification["readout"] == Readout.PAPER:
            detail = "the readout `paper` has no margin that could be calibrated"
            raise InvalidField("fingerprint", detail, code="no_margin")
        calibrations.put(connection, tenant_id, scorer.id, one, figures)


def _calibration(services: Services, tenant_id: int, fingerprint: str) -> CalibrationOut:
    with services.database.begin() as connection:
        scorer = registry.scorer_identified(connection, fingerprint)
        found = calibrations.latest(connection, tenant_id, fingerprint)
    if scorer is None:
        raise _no_scorer()
    if found is None:
        raise NotFound("this scorer has no calibration", code="calibration_not_found")
    return CalibrationOut.of(scorer, found)


def _no_scorer() -> NotFound:
    return NotFound("there is no scorer of this fingerprint", code="scorer_not_found")
