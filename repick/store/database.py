"""The connection to Postgres: transactions, driver errors made ours, and migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection as Connection
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from repick.errors import Unavailable

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


class Database:
    """A pool of connections to one Postgres database; safe to share between threads."""

    def __init__(self, url: str, *, pool_size: int = 8, statement_timeout_s: int = 60) -> None:
        options = f"-c statement_timeout={statement_timeout_s * 1000} -c lock_timeout=10000"
        self.engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=10,
            connect_args={"connect_timeout": 5, "options": options},
        )

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back on any error.

        Raises Unavailable when the server did not answer or the connection broke; a commit may
        then have happened or not, and the caller must read back, never assume.
        """
        with _translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Outside of transactions, for statements such as CREATE INDEX CONCURRENTLY."""
        with (
            _translated(),
            self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            yield connection

    def ping(self) -> None:
        """Raise Unavailable unless Postgres answers."""
        with self.begin() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as exc:
        raise Unavailable("the database did not answer", part="postgres") from exc
    except DBAPIError as exc:
        if exc.connection_invalidated:
            raise Unavailable("the database connection broke", part="postgres") from exc
        raise


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


def migrate(url: str, revision: str = "head") -> None:
    """Bring the schema up to `revision`."""
    with _translated():
        command.upgrade(alembic_config(url), revision)


def downgrade(url: str, revision: str) -> None:
    """Bring the schema back to `revision` (`base` for nothing)."""
    with _translated():
        command.downgrade(alembic_config(url), revision)
