"""How long a connection waits for Postgres, whatever the system knows of the other end.

The system notices where nobody is there (`database.py`). A proxy that hangs, or a server that is
stopped, is there all the same, and its callers would wait for ever: in time every thread of a
process.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event


class PatientConnection(psycopg.Connection[Any]):
    """Gives up on a server that has said nothing for `patience_s`, and closes itself."""

    patience_s: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.patience_s if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()  # its answer may still come, and would be taken for another's
            raise


def install(engine: Engine, patience_s: float | None) -> None:
    """Let the engine's connections be patient for so long; None is for ever."""

    def connect(_dialect: object, _record: object, arguments: Any, options: Any) -> Any:
        connection = PatientConnection.connect(*arguments, **options)
        connection.patience_s = patience_s
        return connection

    event.listen(engine, "do_connect", connect)


def end_transactions(engine: Engine, limit_s: float) -> None:
    """Let the server end each transaction after so long, where it can (Postgres 17 and newer).

    A server that has been sent a part of a pipeline takes itself for busy: its limit of silence
    does not run, and nobody else ends what such a transaction has locked.
    """

    def limit(connection: psycopg.Connection[Any], _record: object) -> None:
        if connection.info.server_version >= 170000:
            connection.autocommit = True  # one round trip
            connection.execute(f"SET transaction_timeout = {round(limit_s * 1000)}".encode())
            connection.autocommit = False

    event.listen(engine, "connect", limit)
