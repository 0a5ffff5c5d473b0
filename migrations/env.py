"""Alembic's entry point; the URL comes from the caller or from REPICK_DATABASE_URL."""

from __future__ import annotations

import os
import re
import time

from alembic import context
from sqlalchemy import Connection, ForeignKeyConstraint, create_engine, pool, text

from repick.tables import metadata

# Of the session, so that they hold in each migration's own transaction: whoever waits for a lock
# makes everybody behind it wait too. A migration that was refused changed nothing; run it again.
OPTIONS = "-c lock_timeout=5s -c statement_timeout=15min"


PARTITION = re.compile(
    r"embedding_s|(job|job_query|candidate|slice|ranking|pair_score)_p(\d+|_default)$"
)


def ours(obj: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
    """Partitions come and go with corpora and with time; they are not part of the schema."""
    if isinstance(obj, ForeignKeyConstraint):  # Postgres keeps a key to each partition beside ours
        return not PARTITION.match(obj.elements[0].target_fullname.rsplit(".", 1)[0])
    return not (kind == "table" and PARTITION.match(name or ""))


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=ours,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def wait_for_others(connection: Connection) -> None:
    """Two migrations at once would race for the version table.

    Asked for again and again instead of waited for: CREATE INDEX CONCURRENTLY waits for every
    older statement, and so for one that waits for us.
    """
    taken = text("SELECT pg_try_advisory_lock(hashtext('repick.migrate'))")
    while not connection.execute(taken).scalar_one():
        connection.rollback()
        time.sleep(0.1)
    connection.commit()


def protect(connection: Connection) -> None:
    """Cover every table that has tenants by row-level security, those that came just now too."""
    connection.rollback()  # of what `alembic check` has read
    with connection.begin():
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        if connection.execute(text("SELECT to_regproc('repick_protect')")).scalar() is not None:
            connection.execute(text("SELECT repick_protect()"))
    connection.commit()


url = context.config.attributes.get("url") or os.environ["REPICK_DATABASE_URL"]
engine = create_engine(url, poolclass=pool.NullPool, connect_args={"options": OPTIONS})
with engine.connect() as connection:
    wait_for_others(connection)
    run(connection)
    protect(connection)
engine.dispose()
