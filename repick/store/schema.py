"""Which migration the database is at, and which one this code needs."""

from __future__ import annotations

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from repick.store.database import alembic_config


def head() -> str:
    """The newest migration that this code has."""
    revision = ScriptDirectory.from_config(alembic_config("")).get_current_head()
    if revision is None:
        raise RuntimeError("there are no migrations")
    return revision


def current(connection: Connection) -> str | None:
    """The migration that the database is at; None where it has had none."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
