"""What one tenant asks for, however much of it, leaves others their threads and connections."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import text

from api import readiness
from api.services import LONG_READS_AT_ONCE, UPLOADS_AT_ONCE, UPLOADS_OF_TENANT
from repick import queue
from repick.processes import free_port
from repick.settings import Settings
from repick.store.database import Database
from tests import bad_images
from tests.integration.api.harness import NewTenant, Tenant, base64_of, finish, serving, submit
from tests.unit.test_turns import Held

MANY = 40
"""As many as there are threads, and more than there are connections."""
LINES = {"Accept": "application/x-ndjson"}
_MEDIA = (
    "INSERT INTO media (tenant_id, sha256, media_type, width, height, byte_length)"
    " VALUES (:tenant, :sha256, 'image/jpeg', 64, 48, 1)"
)


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
            _all_wait(tenant.database, LONG_READS_AT_ONCE)
            poll = other.http.get(f"/v1/jobs/{queued}", timeout=5)
        assert poll.status_code == 200
        assert {one.result() for one in reads} == {200}


def test_others_upload_while_one_tenants_images_take_long(
    tenant: Tenant, new_tenant: NewTenant
) -> None:
    other = new_tenant()
    for one in (tenant, other):
        one.http.post("/v1/corpora", json={"name": "things"}).raise_for_status()
    photo = bad_images.photo()
    body = {"corpus": "things", "query": {"image": base64_of(photo)}}

    def upload(_: int) -> int:
        return tenant.http.post("/v1/jobs", json=body).status_code

    with ThreadPoolExecutor(MANY) as threads:
        with tenant.database.begin() as connection:
            same = {"tenant": tenant.id, "sha256": hashlib.sha256(photo).digest()}
            connection.execute(text(_MEDIA), same)  # whoever puts it too waits for our end
            uploads = [threads.submit(upload, no) for no in range(UPLOADS_AT_ONCE + 1)]
            _all_wait(tenant.database, UPLOADS_OF_TENANT)
            large = {"corpus": "things", "queries": [{"text": f"{no:900}"} for no in range(1, 30)]}
            taken = other.http.post("/v1/jobs", json=large, timeout=5)
        assert taken.status_code == 202
        assert {one.result() for one in uploads} == {202}


def test_others_poll_while_as_many_probe_a_process_whose_broker_is_away(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tenant: Tenant
) -> None:
    away = Held()
    monkeypatch.setattr(queue, "answers", lambda _: away())
    monkeypatch.setattr(readiness, "FRESH_S", float("inf"))  # of a process that was never asked
    with (
        serving(settings.model_copy(update={"api_port": free_port()})) as url,
        ThreadPoolExecutor(MANY) as threads,
    ):
        probes = [
            threads.submit(lambda: httpx.get(f"{url}/readyz", timeout=30).json()["broker"])
            for _ in range(MANY)
        ]
        try:
            _reached(away)
            polled = httpx.get(f"{url}/v1/jobs", headers=tenant.http.headers, timeout=10)
            assert polled.status_code == 200
        finally:
            away.let_go()
        assert {one.result() for one in probes} == {"unavailable"}
    assert away.begun == 1


def _reached(work: Held) -> None:
    deadline = time.monotonic() + 20
    while not work.begun:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_others_put_items_while_one_tenants_take_long(
    tenant: Tenant, new_tenant: NewTenant
) -> None:
    other = new_tenant()
    for one in (tenant, other):
        one.http.post("/v1/corpora", json={"name": "things"}).raise_for_status()

    def put(no: int) -> int:
        return _put(tenant, f"item {no}", timeout=30)

    with ThreadPoolExecutor(MANY) as threads:
        with tenant.database.begin() as connection:
            held = text("SELECT FROM corpus WHERE tenant_id = :tenant FOR UPDATE")
            connection.execute(held, {"tenant": tenant.id})
            puts = [threads.submit(put, no) for no in range(MANY)]
            _all_wait(tenant.database, 1)
            assert _put(other, "item", timeout=10) == 200
        assert {one.result() for one in puts} == {200}


def _put(tenant: Tenant, name: str, timeout: float) -> int:
    items = {"items": [{"id": name, "text": name}]}
    return tenant.http.put("/v1/corpora/things/items", json=items, timeout=timeout).status_code


def _ended(tenant: Tenant) -> str:
    job = _queued(tenant)
    finish(tenant, job)
    return job


def _queued(tenant: Tenant) -> str:
    tenant.http.post("/v1/corpora", json={"name": "things"}).raise_for_status()
    return str(submit(tenant, query={"text": "a cup"}, k=2)["id"])


def _all_wait(database: Database, least: int) -> None:
    """Until all that can begin wait for the lock, and no other comes."""
    before, now, deadline = -1, 0, time.monotonic() + 20
    while now < least or now > before:
        assert time.monotonic() < deadline
        time.sleep(0.3)
        with database.begin() as connection:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            before, now = now, connection.execute(waiting).scalar_one()
