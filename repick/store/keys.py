"""Tenants and API keys: the secret is shown once; what is stored is its SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from repick.store import driver
from repick.store.database import Database
from repick.tables import api_key, tenant

SCOPES = ("read", "submit", "ingest", "admin")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a tenant, through one of its keys."""

    tenant_id: int
    key_id: int
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key without its secret."""

    prefix: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def ensure_tenant(connection: Connection, name: str) -> int:
    connection.execute(insert(tenant).values(name=name).on_conflict_do_nothing())
    return int(connection.execute(select(tenant.c.id).where(tenant.c.name == name)).scalar_one())


def find_tenant(connection: Connection, name: str) -> int | None:
    found = connection.execute(select(tenant.c.id).where(tenant.c.name == name)).scalar()
    return None if found is None else int(found)


def create_key(
    connection: Connection,
    tenant_id: int,
    name: str,
    scopes: Sequence[str] = SCOPES,
    lifetime: timedelta | None = None,
) -> str:
    """Make a key of 256 random bits, `rpk_<prefix>_<secret>`; it cannot be read back later."""
    prefix, secret = secrets.token_hex(6), secrets.token_hex(32)
    connection.execute(
        insert(api_key).values(
            tenant_id=tenant_id,
            prefix=prefix,
            sha256=_digest(secret),
            name=name,
            scopes=list(scopes),
            expires_at=func.now() + lifetime if lifetime else None,
        )
    )
    return f"rpk_{prefix}_{secret}"


def list_keys(connection: Connection, tenant_id: int) -> list[KeyView]:
    """A tenant's keys, the newest first; their secrets are not kept."""
    rows = connection.execute(
        select(api_key).where(api_key.c.tenant_id == tenant_id).order_by(api_key.c.id.desc())
    )
    return [
        KeyView(
            row.prefix, row.name, tuple(row.scopes), row.created_at, row.expires_at, row.revoked_at
        )
        for row in rows
    ]


def revoke_key(connection: Connection, tenant_id: int, prefix: str) -> bool:
    """Revoke a key from now on; False when the tenant has no such live key."""
    statement = (
        update(api_key)
        .where(api_key.c.tenant_id == tenant_id, api_key.c.prefix == prefix)
        .where(api_key.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    return connection.execute(statement).rowcount == 1


def rotate_key(
    connection: Connection, tenant_id: int, prefix: str, overlap: timedelta
) -> str | None:
    """A new key with the old one's name, scopes and length of life; the old one lives on for
    `overlap` at most, so that clients can change over. None when there is no such live key."""
    old = connection.execute(
        select(api_key)
        .where(api_key.c.tenant_id == tenant_id, api_key.c.prefix == prefix)
        .where(api_key.c.revoked_at.is_(None))
        .where(or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > func.now()))
        .with_for_update()
    ).first()
    if old is None:
        return None
    end = func.least(api_key.c.expires_at, func.now() + overlap)
    connection.execute(update(api_key).where(api_key.c.id == old.id).values(expires_at=end))
    lifetime = old.expires_at - old.created_at if old.expires_at else None
    return create_key(connection, tenant_id, old.name, old.scopes, lifetime)


_LIVE_KEY = "SELECT id, tenant_id, sha256, scopes FROM repick_key(%(prefix)s)"
"""Neither revoked nor expired. A function, as the API may not read the table: it asks before it
knows for which tenant."""


def authenticate(connection: Connection, key: str) -> Principal | None:
    """The principal of a live key; None for anything else, in constant time once found."""
    parts = key.split("_")
    if len(parts) != 3 or parts[0] != "rpk":
        return None
    row = driver.first(connection, _LIVE_KEY, {"prefix": parts[1]})
    if row is None or not hmac.compare_digest(bytes(row.sha256), _digest(parts[2])):
        return None
    return Principal(row.tenant_id, row.id, frozenset(row.scopes))


def ensure_local_key(url: str, file: Path) -> str:
    """The key of tenant `default` for one machine, kept in `file` (mode 0600)."""
    database = Database(url)
    try:
        with database.begin() as connection:
            key = file.read_text().strip() if file.exists() else ""
            if key and authenticate(connection, key):
                return key
            key = create_key(connection, ensure_tenant(connection, "default"), "local")
        _write_private(file, key)
        return key
    finally:
        database.close()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _write_private(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text + "\n")
