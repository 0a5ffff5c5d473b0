"""Encoders and scorers that workers have registered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api import openapi
from api.auth import Reader
from api.services import Services, services_of
from api.views import ModelOut, ModelsOut
from repick.store import registry

router = APIRouter(prefix="/v1", tags=["models"])

Serviced = Annotated[Services, Depends(services_of)]


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
