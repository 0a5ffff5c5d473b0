"""What Postgres says of itself: versions, its clock, and which models were served when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Server:
    """`pgvector` is None where the extension is not there."""

    postgres: str
    pgvector: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Served:
    """A model by name and how many seconds ago a worker registered it."""

    kind: str
    name: str
    seconds_ago: float


def about(connection: Connection) -> Server:
    row = connection.execute(
        text(
            "SELECT current_setting('server_version') AS postgres, clock_timestamp() AS now,"
            " (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS pgvector"
        )
    ).one()
    return Server(row.postgres.split()[0], row.pgvector, row.now)


def served(connection: Connection) -> Sequence[Served]:
    """Encoders and scorers, the one that was registered last first."""
    rows = connection.execute(
        text(
            "SELECT kind, name, extract(epoch FROM now() - seen_at) AS ago FROM"
            " (SELECT 'encoder' AS kind, name, seen_at FROM encoder"
            " UNION ALL SELECT 'scorer', name, seen_at FROM scorer) model ORDER BY seen_at DESC"
        )
    )
    return [Served(row.kind, row.name, float(row.ago)) for row in rows]
