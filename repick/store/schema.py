"""Which migration the database is at, and which one this code needs."""

from __future__ import annotations

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from repick.errors import NotMigrated
from repick.store.database import alembic_config


def head() -> str:
    """The newest migration that this code has."""
    revision = _migrations().get_current_head()
    if revision is None:
        raise RuntimeError("there are no migrations")
    return revision


def current(connection: Connection) -> str | None:
    """The migration that the database is at; None where it has had none."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def require(connection: Connection) -> None:
    """Raises NotMigrated unless the database is at this code's schema, or at one of newer code:
    that is migrated before the processes are replaced."""
    at = current(connection)
    if at is None:
        raise NotMigrated("the database has no tables yet: run `repick migrate`")
    known = {one.revision for one in _migrations().walk_revisions()}
    if at in known and at != head():
        detail = f"the database is at {at}, this code needs {head()}: run `repick migrate`"
        raise NotMigrated(detail)


def _migrations() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config(""))
