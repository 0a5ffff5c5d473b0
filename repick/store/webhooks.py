"""Webhooks and their deliveries. Triggers on jobs and runs write the latter (migration 0014)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from repick.webhooks.rules import OLD_SECRET_LASTS, TEST_EVENT, DeliveryState

KEPT = timedelta(days=30)
"""A delivery that has ended is shown for so long, and one that waits is not begun any later."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook as its owner sees it: without its secret."""

    id: int
    url: str
    events: Sequence[str]
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    id: UUID
    event: str
    payload: Mapping[str, Any]
    state: DeliveryState
    attempts: int
    next_at: datetime
    last_status: int | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this process may attempt until its lease ends; `keys` sign it."""

    tenant_id: int
    id: UUID
    webhook_id: int
    token: UUID
    url: str
    payload: Mapping[str, Any]
    attempts: int
    keys: Sequence[bytes]


_HOOK = "SELECT id, url, events, disabled_at, disabled_reason, created_at FROM webhook"
_OWN = " WHERE tenant_id = :tenant AND id = :id"


def create(
    connection: Connection, tenant_id: int, url: str, events: Sequence[str], secret: bytes
) -> Hook:
    row = connection.execute(
        text(
            "INSERT INTO webhook (tenant_id, url, events, secret)"
            " VALUES (:tenant, :url, :events, :secret)"
            " RETURNING id, url, events, disabled_at, disabled_reason, created_at"
        ),
        {"tenant": tenant_id, "url": url, "events": list(events), "secret": secret},
    ).one()
    return Hook(*row)


def count(connection: Connection, tenant_id: int) -> int:
    """How many the tenant has; two that create at once wait for each other's end."""
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended('repick.webhooks', :t))")
    connection.execute(lock, {"t": tenant_id})
    statement = text("SELECT count(*) FROM webhook WHERE tenant_id = :t")
    return int(connection.execute(statement, {"t": tenant_id}).scalar_one())


def listed(connection: Connection, tenant_id: int) -> list[Hook]:
    statement = text(_HOOK + " WHERE tenant_id = :tenant ORDER BY id")
    return [Hook(*row) for row in connection.execute(statement, {"tenant": tenant_id})]


def by_id(connection: Connection, tenant_id: int, hook_id: int) -> Hook | None:
    row = connection.execute(text(_HOOK + _OWN), {"tenant": tenant_id, "id": hook_id}).first()
    return Hook(*row) if row else None


def remove(connection: Connection, tenant_id: int, hook_id: int) -> bool:
    """Delete a webhook with its deliveries; False where there is none."""
    gone = connection.execute(
        text("DELETE FROM webhook" + _OWN), {"tenant": tenant_id, "id": hook_id}
    )
    return gone.rowcount == 1


def rotate(connection: Connection, tenant_id: int, hook_id: int, secret: bytes) -> bool:
    """A new secret, and the hook works again; the old one signs too for OLD_SECRET_LASTS."""
    done = connection.execute(
        text(
            "UPDATE webhook SET old_secret = secret, old_secret_until = now() + :lasts,"
            " secret = :secret, disabled_at = NULL, disabled_reason = NULL" + _OWN
        ),
        {"tenant": tenant_id, "id": hook_id, "secret": secret, "lasts": OLD_SECRET_LASTS},
    )
    return done.rowcount == 1


def enqueue_test(connection: Connection, tenant_id: int, hook_id: int) -> UUID:
    """A delivery that says nothing but that it came."""
    made = uuid4()
    connection.execute(
        text(
            "INSERT INTO webhook_delivery (tenant_id, id, webhook_id, event, payload)"
            " SELECT :tenant, :made, :id, CAST(:event AS text), jsonb_build_object("
            "'type', CAST(:event AS text), 'timestamp', now(), 'data', '{}'::jsonb)"
        ),
        {"tenant": tenant_id, "made": made, "id": hook_id, "event": TEST_EVENT},
    )
    return made


def deliveries(
    connection: Connection,
    tenant_id: int,
    hook_id: int,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Delivery]:
    """The newest first, those before (created_at, id)."""
    rows = connection.execute(
        text(
            "SELECT id, event, payload, state::text AS state, attempts, next_at, last_status,"
            " last_error, created_at, finished_at FROM webhook_delivery"
            " WHERE tenant_id = :tenant AND webhook_id = :id AND (CAST(:at AS timestamptz) IS NULL"
            " OR (created_at, id) < (CAST(:at AS timestamptz), CAST(:last AS uuid)))"
            " ORDER BY created_at DESC, id DESC LIMIT :limit"
        ),
        {
            "tenant": tenant_id,
            "id": hook_id,
            "at": before[0] if before else None,
            "last": before[1] if before else None,
            "limit": limit,
        },
    )
    return [Delivery(**{**row._mapping, "state": DeliveryState(row.state)}) for row in rows]


_CLAIM = text(
    """
    WITH due AS (
        SELECT d.tenant_id, d.id FROM webhook_delivery d JOIN webhook w
          ON w.tenant_id = d.tenant_id AND w.id = d.webhook_id AND w.disabled_at IS NULL
        WHERE d.state = 'waiting' AND d.next_at <= now() AND d.webhook_id <> ALL(:busy)
          AND d.tenant_id <> ALL(:full)
        ORDER BY d.next_at LIMIT :limit FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE webhook_delivery d SET attempts = d.attempts + 1, token = gen_random_uuid(),
        next_at = now() + :lease
    FROM due, webhook w
    WHERE d.tenant_id = due.tenant_id AND d.id = due.id
      AND w.tenant_id = d.tenant_id AND w.id = d.webhook_id
    RETURNING d.tenant_id, d.id, d.webhook_id, d.token, w.url, d.payload, d.attempts, w.secret,
        CASE WHEN w.old_secret_until > now() THEN w.old_secret END AS old_secret
    """
)


def claim_due(
    connection: Connection,
    limit: int,
    lease: timedelta,
    busy: Collection[int] = (),
    full: Collection[int] = (),
) -> list[Claimed]:
    """Deliveries whose time has come, but none of the webhooks `busy` and of the tenants `full`.

    They count as attempted: a process that dies over one has used an attempt of it, and it comes
    again after the lease.
    """
    rows = connection.execute(
        _CLAIM, {"limit": limit, "lease": lease, "busy": list(busy), "full": list(full)}
    )
    return [
        Claimed(
            *(row.tenant_id, row.id, row.webhook_id, row.token, row.url, row.payload),
            row.attempts,
            [bytes(key) for key in (row.secret, row.old_secret) if key is not None],
        )
        for row in rows
    ]


def finish(
    connection: Connection,
    one: Claimed,
    state: DeliveryState,
    status: int | None,
    error: str | None,
) -> None:
    """Write down the last attempt; nothing where somebody else has claimed it since."""
    connection.execute(
        text(
            "UPDATE webhook_delivery SET state = CAST(:state AS delivery_state),"
            " last_status = :status, last_error = :error, finished_at = now(), token = NULL"
            " WHERE tenant_id = :tenant AND id = :id AND token = :token AND state = 'waiting'"
        ),
        _result(one, status, error) | {"state": state.value},
    )


def again(
    connection: Connection, one: Claimed, wait: timedelta, status: int | None, error: str
) -> None:
    """Write down an attempt that failed, and when the next one is."""
    connection.execute(
        text(
            "UPDATE webhook_delivery SET next_at = now() + :wait, last_status = :status,"
            " last_error = :error, token = NULL"
            " WHERE tenant_id = :tenant AND id = :id AND token = :token AND state = 'waiting'"
        ),
        _result(one, status, error) | {"wait": wait},
    )


def _result(one: Claimed, status: int | None, error: str | None) -> dict[str, object]:
    return {
        "tenant": one.tenant_id,
        "id": one.id,
        "token": one.token,
        "status": status,
        "error": error,
    }


def disable(connection: Connection, tenant_id: int, hook_id: int, reason: str) -> None:
    connection.execute(
        text(
            "UPDATE webhook SET disabled_at = now(), disabled_reason = :reason"
            + _OWN
            + " AND disabled_at IS NULL"
        ),
        {"tenant": tenant_id, "id": hook_id, "reason": reason},
    )


def forget(connection: Connection, limit: int = 1000) -> int:
    """Delete deliveries that ended longer than KEPT ago, or were due then and still wait: their
    webhook is disabled, or told of more than it takes."""
    return connection.execute(
        text(
            "DELETE FROM webhook_delivery WHERE (tenant_id, id) IN (SELECT tenant_id, id"
            " FROM webhook_delivery WHERE (state <> 'waiting' AND finished_at < now() - :kept)"
            " OR (state = 'waiting' AND next_at < now() - :kept) LIMIT :limit)"
        ),
        {"kept": KEPT, "limit": limit},
    ).rowcount


def body_of(one: Claimed) -> str:
    """What is signed and sent, the same in every attempt."""
    return json.dumps(one.payload, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
