"""One tenant's exports, streams and comparisons leave threads and connections to others' polls."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from api.services import LONG_READS_AT_ONCE
from repick.store.database import Database
from tests.integration.api.harness import NewTenant, Tenant, finish, submit

MANY = 40
"""As many as there are threads, and more than there are connections."""
LINES = {"Accept": "application/x-ndjson"}


@pytest.mark.parametrize(
    ("path", "headers", "table"),
    [
        ("/v1/jobs/{job}/export", {}, "ranking"),
        ("/v1/jobs/{job}/rankings", LINES, "ranking"),
        ("/v1/runs/{job}/diff/{job}", {}, "ranking"),
        ("/v1/runs/{job}/diff/{job}", LINES, "ranking"),
        ("/v1/runs/{job}/diff/{job}/summary", {}, "comparison"),
    ],
)
def test_others_poll_while_as_many_read_as_there_are_threads(
    path: str, headers: dict[str, str], table: str, tenant: Tenant, new_tenant: NewTenant
) -> None:
    job, other = _ended(tenant), new_tenant()
    queued = _queued(other)

    def read(_: int) -> int:
        return tenant.http.get(path.format(job=job), headers=headers).status_code

    with ThreadPoolExecutor(MANY) as threads:
        with tenant.database.begin() as connection:
            connection.execute(text(f"LOCK TABLE {table}"))
            reads = [threads.submit(read, no) for no in range(MANY)]
            _all_wait(tenant.database)
            poll = other.http.get(f"/v1/jobs/{queued}", timeout=5)
        assert poll.status_code == 200
        assert {one.result() for one in reads} == {200}


def _ended(tenant: Tenant) -> str:
    job = _queued(tenant)
    finish(tenant, job)
    return job


def _queued(tenant: Tenant) -> str:
    tenant.http.post("/v1/corpora", json={"name": "things"}).raise_for_status()
    return str(submit(tenant, query={"text": "a cup"}, k=2)["id"])


def _all_wait(database: Database) -> None:
    """Until all that can begin wait for the lock, and no other comes."""
    before, now, deadline = -1, 0, time.monotonic() + 20
    while now < LONG_READS_AT_ONCE or now > before:
        assert time.monotonic() < deadline
        time.sleep(0.3)
        with database.begin() as connection:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            before, now = now, connection.execute(waiting).scalar_one()
