"""Row-level security, from this side: for whom a connection acts, and whether Postgres holds it to.

Postgres knows two roles that own nothing. `repick_api` sees the rows of the tenant that the
connection names, and none where it names none; `repick_service` sees all, for workers that serve
every tenant. Migration 0020 makes roles, policies and the functions that this relies on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from repick.errors import Unavailable

NOBODY = 0
"""Stands for no tenant: ids begin with 1."""
UNPROTECTED_FOR_S = 30.0
"""How long a connection is used that found no row-level security: it may be switched on."""

_tenant: ContextVar[int] = ContextVar("repick_tenant", default=NOBODY)
_as_it_is: ContextVar[bool] = ContextVar("repick_as_it_is", default=False)


class Role(StrEnum):
    OWNER = "owner"  # as the address says: migrations, the sweep, the command line
    SERVICE = "repick_service"  # workers: every tenant's rows, no change of the schema
    API = "repick_api"  # one tenant's rows at a time


def act_for(tenant_id: int) -> None:
    """From now on, in this context (a request), connections of the API see this tenant alone."""
    _tenant.set(tenant_id)


@contextmanager
def for_no_rows() -> Iterator[None]:
    """A connection that reads no tenant's table may keep whom it acts for: no round trip."""
    before = _as_it_is.set(True)
    try:
        yield
    finally:
        _as_it_is.reset(before)


def install(engine: Engine, role: Role) -> None:
    """Make every new connection take the role, and the API's name its tenant at checkout."""
    if role is Role.OWNER:
        return

    def connected(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["protected"] = _take_role(connection, role)
        record.info["since"] = time.monotonic()

    event.listen(engine, "connect", connected)
    if role is Role.API:
        event.listen(engine, "checkout", _name_tenant)


_TAKE = """
SELECT CASE WHEN pg_has_role(session_user, role.oid, 'MEMBER')
            THEN set_config('role', role.rolname, false) IS NOT NULL ELSE false END AS taken
  FROM pg_roles role WHERE role.rolname = %s
"""
_PROTECTED = """
SELECT coalesce((SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass('job')), false)
"""


def _take_role(connection: Any, role: Role) -> bool:
    """Whether row-level security is on. Raises Unavailable where it is and the role cannot be had:
    the connection would see too much or nothing."""
    before, connection.autocommit = connection.autocommit, True
    try:
        row = connection.execute(_TAKE, (role.value,)).fetchone()
        protected = bool(connection.execute(_PROTECTED).fetchone()[0])
    finally:
        connection.autocommit = before
    if protected and not (row and row[0]):
        detail = f"the database's user is no member of the role {role.value}"
        raise Unavailable(detail, code="no_role", part="postgres")
    return protected


def _name_tenant(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """One round trip where the tenant changes, none where it stays; set outside of transactions,
    so that no rollback brings back another."""
    info = record.info
    if not info["protected"]:
        if time.monotonic() - info["since"] > UNPROTECTED_FOR_S:
            raise DisconnectionError  # a new one will ask again
        return
    tenant = _tenant.get()
    if _as_it_is.get() or info.get("tenant", NOBODY) == tenant:
        return
    info["tenant"] = None  # unknown until the server has confirmed
    named = str(tenant) if tenant != NOBODY else ""
    before, connection.autocommit = connection.autocommit, True
    try:
        connection.execute("SELECT set_config('repick.tenant', %s, false)", (named,))
    finally:
        connection.autocommit = before
    info["tenant"] = tenant


def protected(connection: Connection) -> bool:
    """Whether every table with tenants has row-level security that also holds for its owner."""
    found = connection.execute(
        text(
            "SELECT bool_and(c.relrowsecurity AND c.relforcerowsecurity) FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
            " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " AND c.relnamespace = current_schema()::regnamespace"
        )
    )
    return bool(found.scalar())
