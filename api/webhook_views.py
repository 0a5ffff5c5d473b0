"""What a client sends and sees of webhooks. A secret is seen once, where it is made."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.views import View
from repick.store.webhooks import Delivery, Hook
from repick.webhooks.rules import MAX_URL_CHARS, DeliveryState

WEBHOOK_EXAMPLE = {
    "url": "https://example.com/hooks/repick",
    "events": ["run.published", "run.held", "job.failed"],
}


class WebhookRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: str = Field(max_length=MAX_URL_CHARS)
    events: list[str] = Field(min_length=1, max_length=20)


class WebhookOut(View):
    id: int
    url: str
    events: list[str]
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime

    @classmethod
    def of(cls, one: Hook) -> WebhookOut:
        return cls.model_validate(one)


class NewWebhookOut(WebhookOut):
    secret: str = Field(description="For the receiver's library; not shown again.")


class WebhooksOut(View):
    items: list[WebhookOut]


class SecretOut(View):
    secret: str = Field(description="Not shown again; the old one signs too for 24 hours.")


class DeliveryOut(View):
    """`next_at` is the next attempt's time while the state is `waiting`."""

    id: UUID
    event: str
    payload: dict[str, Any]
    state: DeliveryState
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, one: Delivery) -> DeliveryOut:
        shown = cls.model_validate(one)
        waits = one.state is DeliveryState.WAITING
        return shown if waits else shown.model_copy(update={"next_at": None})


class DeliveriesOut(View):
    items: list[DeliveryOut]
    next: str | None


class TestOut(View):
    delivery: UUID
