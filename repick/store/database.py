"""The connection to Postgres: transactions, driver errors made ours, and migrations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from psycopg.errors import FeatureNotSupported, InsufficientPrivilege
from sqlalchemy import Connection as Connection
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from repick.errors import CommitUnknown, StatementTimeout, Unavailable
from repick.store import patience, tenancy, vectors
from repick.store.tenancy import Role

PING_AFTER_IDLE_S = 1.0
EF_SEARCH = 200
"""Of an index scan unless a search asks for more: set with the connection, not in each search."""
PLAN_ONCE = " -c plan_cache_mode=force_generic_plan"
"""Workers ask the same few things by key, of tables of many partitions: planning each question
anew takes longer than its answer. What depends on a value is planned for it by `by_value`."""
_NOTICED = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""For libpq: a server that is gone without an end is noticed in 30 s, whether we wait for an answer
or to be heard. The system's own patience is a quarter of an hour, or hours."""
SILENCE_S = 15
"""Beyond the time that a statement may take; a server that is silent for longer is given up."""
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


class Database:
    """A pool of connections to one Postgres database; safe to share between threads.

    At most `connections` of them, opened when they are needed and then kept: one that is opened
    for a single use costs a process of Postgres, which plans everything anew. A transaction that
    nothing is heard of for `idle_transaction_s` is rolled back: whoever began it was stopped, or
    the network between is gone, and its locks are wanted by those who go on.
    Under Role.API they see the rows of the tenant alone that `tenancy.act_for` named.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 16,
        statement_timeout_s: int = 60,
        idle_transaction_s: float = 30,
        role: Role = Role.OWNER,
    ) -> None:
        options = (
            f"-c statement_timeout={statement_timeout_s * 1000} -c lock_timeout=10000"
            f" -c idle_in_transaction_session_timeout={round(idle_transaction_s * 1000)}"
            f" -c hnsw.ef_search={EF_SEARCH} -c hnsw.iterative_scan=relaxed_order"
        )
        patience_s = statement_timeout_s + SILENCE_S if statement_timeout_s else None
        if role is Role.SERVICE:
            options += PLAN_ONCE
        self.engine = create_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=10,
            pool_use_lifo=True,
            isolation_level="AUTOCOMMIT" if role is Role.API else None,
            connect_args={"connect_timeout": 5, "options": options} | _NOTICED,
        )
        patience.install(self.engine, patience_s)
        if role is Role.SERVICE and patience_s:
            patience.end_transactions(self.engine, patience_s)
        event.listen(self.engine, "connect", vectors.install)
        event.listen(self.engine, "checkin", _note_use)
        event.listen(self.engine, "checkout", _ping_idle)
        tenancy.install(self.engine, role)
        # Changing the mode costs at every use: so a connection lies in the one that its user needs
        # more often, which for the API is a statement by itself.
        self._singly = self._transactions = self.engine
        if role is Role.API:
            self._transactions = self.engine.execution_options(isolation_level="READ COMMITTED")
        else:
            self._singly = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back on any error.

        Raises Unavailable when the server did not answer or the connection broke, and then nothing
        was committed; CommitUnknown when it broke at the COMMIT itself, which has happened or not:
        the caller must read back, never assume.
        """
        with (
            _translated(),
            self._transactions.connect() as connection,
            connection.begin() as transaction,
        ):
            yield connection
            try:
                transaction.commit()
            except (OperationalError, InterfaceError) as exc:
                detail = "the answer to a commit was lost"
                raise CommitUnknown(detail, part="postgres") from exc

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Without a transaction, for a few SELECTs: a round trip each, where `begin` needs three.

        As in a transaction at READ COMMITTED, each statement sees what is committed by then.
        Raises Unavailable.
        """
        with _translated(), self._singly.connect() as connection:
            yield connection

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """Each statement is a transaction of its own: one round trip for a write that is one.

        Raises Unavailable where nothing was sent, and CommitUnknown where the connection broke
        while a statement ran: it has committed or not.
        """
        with _translated(), self._singly.connect() as connection:
            try:
                yield connection
            except DBAPIError as exc:
                if not exc.connection_invalidated:
                    raise
                detail = "the answer to a statement was lost"
                raise CommitUnknown(detail, part="postgres") from exc

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


def by_value(connection: Connection) -> None:
    """Plan each of this transaction's statements for its values, where they decide how it runs."""
    connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _ping_idle(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Make the pool replace a connection that broke while it lay idle.

    One that was used a moment ago is taken without a question: a round trip a transaction is
    much, and where the server went away since, the error says so and the pool starts afresh.
    """
    if time.monotonic() - record.info.get("used", 0.0) < PING_AFTER_IDLE_S:
        return
    try:
        connection.execute("", prepare=False)
        connection.rollback()
    except psycopg.Error as exc:
        raise DisconnectionError from exc


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as exc:
        if isinstance(exc, OperationalError) and isinstance(exc.orig, psycopg.errors.QueryCanceled):
            raise StatementTimeout("a statement took too long", part="postgres") from exc
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
    """Bring the schema up to `revision`.

    Raises Unavailable, `not_permitted` where the server has no pgvector or this user may not do it.
    """
    try:
        with _translated():
            command.upgrade(alembic_config(url), revision)
    except DBAPIError as exc:
        if isinstance(exc.orig, InsufficientPrivilege | FeatureNotSupported):
            detail = f"the database refused: {exc.orig.diag.message_primary}"
            raise Unavailable(detail, code="not_permitted", part="postgres") from exc
        raise


def downgrade(url: str, revision: str) -> None:
    """Bring the schema back to `revision` (`base` for nothing)."""
    with _translated():
        command.downgrade(alembic_config(url), revision)
