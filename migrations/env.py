"""Alembic's entry point; the URL comes from the caller or from REPICK_DATABASE_URL."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from repick.tables import metadata


def ours(obj: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
    """Partitions of spaces come and go with corpora; they are not part of the schema."""
    return not (kind == "table" and (name or "").startswith("embedding_s"))


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=ours,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.execute("SET LOCAL lock_timeout = '5s'")
        context.execute("SET LOCAL statement_timeout = '15min'")
        context.run_migrations()


def protect(connection: Connection) -> None:
    """Cover every table that has tenants by row-level security, those that came just now too."""
    connection.rollback()  # of what `alembic check` has read
    with connection.begin():
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        if connection.execute(text("SELECT to_regproc('repick_protect')")).scalar() is not None:
            connection.execute(text("SELECT repick_protect()"))


url = context.config.attributes.get("url") or os.environ["REPICK_DATABASE_URL"]
engine = create_engine(url, poolclass=pool.NullPool)
with engine.connect() as connection:
    # Two migrations at once would race for the version table.
    connection.execute(text("SELECT pg_advisory_lock(hashtext('repick.migrate'))"))
    connection.commit()
    run(connection)
    protect(connection)
engine.dispose()
