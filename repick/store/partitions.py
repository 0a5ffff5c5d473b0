"""Weeks of the job tables: made ahead, dropped when nothing in them is kept any more.

Every table whose key begins with a job's id has the same weeks, named by their first day; what has
no week yet goes to the default partition, so that a sweep that stands still refuses nobody's job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

WEEK = timedelta(days=7)
AHEAD = 4
JOB_TABLES = {
    "job": "id",
    "job_query": "job_id",
    "candidate": "job_id",
    "slice": "job_id",
    "ranking": "job_id",
}
"""The job first: keys of the others refer to it."""
DEFAULT = "job_p_default"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Week:
    """Jobs whose ids were made from `start` until a week later."""

    start: datetime

    @property
    def end(self) -> datetime:
        return self.start + WEEK

    def of(self, table: str) -> str:
        """The partition's name."""
        return f"{table}_p{self.start:%Y%m%d}"


def week_of(moment: datetime) -> Week:
    return Week(_EPOCH + (moment - _EPOCH) // WEEK * WEEK)


def first_id(moment: datetime) -> UUID:
    """The lowest uuid7 of a moment: ids begin with their time in milliseconds (RFC 9562)."""
    return UUID(int=((moment - _EPOCH) // timedelta(milliseconds=1)) << 80)


def weeks(connection: Connection) -> list[Week]:
    """The weeks that have partitions, the oldest first."""
    names = connection.execute(
        text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'job'::regclass AND c.relname ~ '^job_p[0-9]{8}$' ORDER BY 1"
        )
    ).scalars()
    return [Week(datetime.strptime(f"{name[5:]}+0000", "%Y%m%d%z")) for name in names]


def in_turn(connection: Connection) -> None:
    """Keep other sweeps from making or dropping weeks until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('repick.weeks'))"))


def missing(connection: Connection, now: datetime) -> Iterator[Week]:
    """This week and the next ones, as far as they have no partitions yet."""
    there = set(weeks(connection))
    for ahead in range(AHEAD + 1):
        if (week := week_of(now + ahead * WEEK)) not in there:
            yield week


def create(connection: Connection, week: Week) -> bool:
    """Make a week's partitions; waits at most 2 s for a lock, as everybody waits behind it.

    Made beside and attached, so that only the default partition is locked, and for a moment.
    False where that one has jobs of the week already: the week's others join them there.
    """
    connection.execute(text("SET LOCAL lock_timeout = '2s'"))
    low, high = first_id(week.start), first_id(week.end)
    connection.execute(text(f"LOCK TABLE {DEFAULT}"))
    come = text(f"SELECT EXISTS (SELECT FROM {DEFAULT} WHERE id >= :low AND id < :high)")
    if connection.execute(come, {"low": low, "high": high}).scalar_one():
        return False
    for table in JOB_TABLES:
        name = week.of(table)
        connection.execute(
            text(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        )
        connection.execute(
            text(
                f"ALTER TABLE {table} ATTACH PARTITION {name}"
                f" FOR VALUES FROM ('{low}') TO ('{high}')"
            )
        )
        # Its own, whoever may one day ask for it by its name: a policy of the parent is not its.
        connection.execute(
            text(
                f"SELECT repick_protect_table('{name}') FROM pg_class"
                f" WHERE oid = '{table}'::regclass AND relrowsecurity"
            )
        )
    return True


def drop(connection: Connection, week: Week) -> None:
    """Drop a week at once, its jobs and all that hangs on them.

    Raises Unavailable where a lock is not had in 2 s, or where making sure that nothing else
    refers to the week's jobs takes over 10 s: then nothing was dropped.
    """
    connection.execute(text("SET LOCAL lock_timeout = '2s'"))
    connection.execute(text("SET LOCAL statement_timeout = '10s'"))
    job, *details = JOB_TABLES
    for table in details:
        connection.execute(text(f"DROP TABLE {week.of(table)}"))
    connection.execute(text(f"ALTER TABLE {job} DETACH PARTITION {week.of(job)}"))
    connection.execute(text(f"DROP TABLE {week.of(job)}"))
