"""Answers about models, corpora and items."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from repick.calibration import as_json
from repick.store.calibrations import Calibration
from repick.store.corpora import Item
from repick.store.registry import Registered


class View(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class ModelName(View):
    name: str
    fingerprint: str


class ModelOut(ModelName):
    untrained: bool
    specification: dict[str, Any]

    @classmethod
    def of(cls, one: Registered) -> ModelOut:
        return cls.model_validate(one)


class ModelsOut(View):
    items: list[ModelOut]


class CalibrationOut(View):
    """The map as it was put, for the scorer of exactly this fingerprint."""

    scorer: ModelName
    map: dict[str, Any]
    figures: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, scorer: Registered, one: Calibration) -> CalibrationOut:
        return cls(
            scorer=ModelName.model_validate(scorer),
            map=as_json(one.map),
            figures=dict(one.figures),
            created_at=one.created_at,
        )


class CorpusName(View):
    name: str
    created_at: datetime


class CorporaOut(View):
    items: list[CorpusName]


class ItemFailure(View):
    id: str
    code: str


class CorpusOut(CorpusName):
    """`failed` counts items without a vector by reason; `failures` names the first of them."""

    encoder: ModelName
    untrained: bool
    dimension: int
    indexed: bool
    items: int
    embedded: int
    pending: int
    failed: dict[str, int]
    failures: list[ItemFailure]


class FailedItem(View):
    id: str
    code: str
    detail: str
    retryable: bool


class StoredOut(View):
    """How many items are new or changed, how many were there already, and which failed."""

    stored: int
    unchanged: int
    failed: list[FailedItem]


class ImageOut(View):
    media_type: str
    width: int
    height: int
    bytes: int
    sha256: str
    href: str


class ItemName(View):
    id: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def named(cls, one: Item) -> ItemName:
        return cls(
            id=one.external_id,
            metadata=dict(one.metadata),
            created_at=one.created_at,
            updated_at=one.updated_at,
        )


class ItemOut(ItemName):
    text: str | None
    image: ImageOut | None


class ItemsOut(View):
    items: list[ItemName]
    next: str | None
