"""Webhooks: created, listed, tested, rotated, deleted, and what became of each delivery."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from api import openapi
from api.auth import Administrator
from api.pages import Cursor, Limit, next_link
from api.payload import read_json
from api.services import Services, services_of
from api.webhook_views import (
    WEBHOOK_EXAMPLE,
    DeliveriesOut,
    DeliveryOut,
    NewWebhookOut,
    SecretOut,
    TestOut,
    WebhookOut,
    WebhookRequest,
    WebhooksOut,
)
from repick.errors import Conflict, InvalidField, NotFound
from repick.store import webhooks
from repick.store.database import Connection
from repick.store.webhooks import Hook
from repick.webhooks import rules

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

Serviced = Annotated[Services, Depends(services_of)]
HookId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.post(
    "",
    status_code=201,
    response_model=NewWebhookOut,
    responses=openapi.errors(400, 409, 413, 415),
    openapi_extra=openapi.json_body(WebhookRequest, webhook={"value": WEBHOOK_EXAMPLE}),
)
async def create_webhook(
    request: Request, response: Response, who: Administrator, services: Serviced
) -> NewWebhookOut:
    """Have events of the tenant's jobs and runs sent to an https address, signed."""
    wanted = await read_json(request, WebhookRequest)
    made, secret = await run_in_threadpool(_create, services, who.tenant_id, wanted)
    response.headers["Location"] = f"/v1/webhooks/{made.id}"
    shown = WebhookOut.of(made).model_dump()
    return NewWebhookOut(**shown, secret=rules.shown(secret))


def _create(services: Services, tenant_id: int, wanted: WebhookRequest) -> tuple[Hook, bytes]:
    rules.parsed_url(wanted.url, insecure=services.settings.webhooks_over_http)
    for no, event in enumerate(wanted.events):
        if event not in rules.EVENTS:
            detail = f"one of {', '.join(rules.EVENTS)}"
            raise InvalidField(f"events[{no}]", detail, code="unknown_event")
    events, secret = list(dict.fromkeys(wanted.events)), rules.new_secret()
    most = services.settings.max_webhooks
    with services.database.begin() as connection:
        if webhooks.count(connection, tenant_id) >= most:
            raise Conflict(f"a tenant has at most {most} webhooks", code="too_many_webhooks")
        return webhooks.create(connection, tenant_id, wanted.url, events, secret), secret


@router.get("", response_model=WebhooksOut, responses=openapi.errors())
def list_webhooks(who: Administrator, services: Serviced) -> WebhooksOut:
    """Every webhook of the tenant, without secrets."""
    with services.database.read() as connection:
        found = webhooks.listed(connection, who.tenant_id)
    return WebhooksOut(items=[WebhookOut.of(one) for one in found])


@router.get("/{webhook}", response_model=WebhookOut, responses=openapi.errors(404))
def show_webhook(who: Administrator, services: Serviced, webhook: HookId) -> WebhookOut:
    with services.database.read() as connection:
        return WebhookOut.of(_one(connection, who.tenant_id, webhook))


@router.delete("/{webhook}", status_code=204, responses=openapi.errors(404))
def delete_webhook(who: Administrator, services: Serviced, webhook: HookId) -> None:
    """Nothing more is sent to it; its deliveries are forgotten."""
    with services.database.begin() as connection:
        if not webhooks.remove(connection, who.tenant_id, webhook):
            raise _no_webhook()


@router.post(
    "/{webhook}/test", status_code=202, response_model=TestOut, responses=openapi.errors(404, 409)
)
def test_webhook(who: Administrator, services: Serviced, webhook: HookId) -> TestOut:
    """Send `webhook.test`; what became of it is among the deliveries."""
    with services.database.begin() as connection:
        if _one(connection, who.tenant_id, webhook).disabled_at is not None:
            raise Conflict("the webhook is disabled; rotate its secret", code="webhook_disabled")
        made = webhooks.enqueue_test(connection, who.tenant_id, webhook)
    return TestOut(delivery=made)


@router.post("/{webhook}/rotate", response_model=SecretOut, responses=openapi.errors(404))
def rotate_secret(who: Administrator, services: Serviced, webhook: HookId) -> SecretOut:
    """A new secret; the old one signs too for 24 hours. A disabled webhook works again."""
    secret = rules.new_secret()
    with services.database.begin() as connection:
        if not webhooks.rotate(connection, who.tenant_id, webhook, secret):
            raise _no_webhook()
    return SecretOut(secret=rules.shown(secret))


@router.get(
    "/{webhook}/deliveries", response_model=DeliveriesOut, responses=openapi.errors(400, 404)
)
def list_deliveries(
    who: Administrator,
    services: Serviced,
    webhook: HookId,
    limit: Limit = 30,
    cursor: Cursor = None,
) -> DeliveriesOut:
    """Deliveries with their state, attempts and last answer, the newest first."""
    purpose = f"deliveries.{who.tenant_id}.{webhook}"
    before = None
    if cursor is not None:
        at, _, last = services.cursors.read(purpose, cursor).partition(" ")
        before = (datetime.fromisoformat(at), UUID(last))
    with services.database.read() as connection:
        _one(connection, who.tenant_id, webhook)
        page = webhooks.deliveries(connection, who.tenant_id, webhook, before, limit + 1)
    link = None
    if len(page) > limit:
        page = page[:limit]
        place = f"{page[-1].created_at.isoformat()} {page[-1].id}"
        mark = services.cursors.write(purpose, place)
        link = next_link(f"/v1/webhooks/{webhook}/deliveries", limit=limit, cursor=mark)
    return DeliveriesOut(items=[DeliveryOut.of(one) for one in page], next=link)


def _one(connection: Connection, tenant_id: int, hook_id: int) -> Hook:
    found = webhooks.by_id(connection, tenant_id, hook_id)
    if found is None:
        raise _no_webhook()
    return found


def _no_webhook() -> NotFound:
    return NotFound("there is no webhook of this id", code="webhook_not_found")
