"""Statements sent by the driver itself, on SQLAlchemy's connection and within its transaction.

For the few that come with every submit and every poll: there SQLAlchemy's own part (its execution
context, and the metadata of a text's columns, made anew each time) costs more than the driver's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import ClauseElement, Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError


def first(connection: Connection, statement: str, values: Mapping[str, Any]) -> Any:
    """The first row, as `rows` gives them; None where there is none."""
    found = rows(connection, statement, values)
    return found[0] if found else None


def rows(
    connection: Connection,
    statement: str,
    values: Mapping[str, Any],
    make: Callable[[Sequence[Any]], Any] | None = None,
    *,
    binary: bool = False,
) -> list[Any]:
    """All rows: what `make` makes of each, or named tuples.

    Parameters are written `%(name)s`, with a cast where Postgres cannot tell a string's type.
    Binary values are read faster, an array of numbers three times; but enums come as bytes then.
    Raises what SQLAlchemy raises, and like it gives up a connection that broke.
    """
    if not connection.in_transaction():  # as `execute` would: who commits must find something begun
        connection.begin()
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    try:
        cursor = driver.cursor(
            binary=binary, row_factory=(lambda _: make) if make else namedtuple_row
        )
        return cursor.execute(statement, values).fetchall()
    except psycopg.Error as exc:
        broken = driver.closed
        if broken:
            connection.invalidate(exc)
        raise DBAPIError.instance(
            statement, dict(values), exc, psycopg.Error, connection_invalidated=broken
        ) from exc


def text_of(statement: ClauseElement) -> str:
    """A statement built by SQLAlchemy, as `rows` takes it; its constants must be written out."""
    compiled = statement.compile(dialect=_DIALECT)
    assert set(compiled.params.values()) <= {None}, compiled.params
    return str(compiled)


_DIALECT = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]
