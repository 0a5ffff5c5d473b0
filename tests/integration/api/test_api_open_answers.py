"""Answers that stay open: so many at once, and none for longer than its key lives."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import long_reads
from repick import exports
from repick.processes import free_port
from repick.settings import Settings
from repick.store import keys
from tests.integration.api.harness import NewTenant, Tenant, finish, problem, serving, submit

WAIT = {"Prefer": "wait=20"}


def revoke(tenant: Tenant) -> None:
    with tenant.database.begin() as connection:
        assert keys.revoke_key(connection, tenant.id, tenant.key.split("_")[1])


@contextmanager
def few(settings: Settings, **limits: int) -> Iterator[str]:
    """An API that holds few answers open."""
    changes = {"api_port": free_port(), **limits}
    with serving(settings.model_copy(update=changes)) as url:
        yield url


@contextmanager
def listening(url: str, tenant: Tenant, job: dict[str, Any]) -> Iterator[Iterator[str]]:
    """The lines of a job's event stream that has begun."""
    path, headers = f"{url}{job['href']}/events", tenant.http.headers
    with httpx.stream("GET", path, headers=headers, timeout=30) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        assert next(lines).startswith("retry:")
        yield lines


def asked(url: str, tenant: Tenant, path: str) -> httpx.Response:
    """The answer; of a stream that is let in, only how it begins."""
    with httpx.stream("GET", url + path, headers=tenant.http.headers, timeout=30) as response:
        if not response.is_success:
            response.read()
        return response


def test_a_tenant_has_so_many_streams_and_leaves_the_others_to_others(
    settings: Settings, tenant: Tenant, corpus: str, new_tenant: NewTenant
) -> None:
    job, other = submit(tenant, query={"text": "a"}), new_tenant()
    other.http.post("/v1/corpora", json={"name": "things"}).raise_for_status()
    theirs = submit(other, query={"text": "a"})
    events = job["href"] + "/events"
    with few(settings, max_streams=3, max_streams_of_tenant=1) as url:
        with listening(url, tenant, job), listening(url, other, theirs):
            for path in (events, job["href"] + "/export"):
                refused = asked(url, tenant, path)
                assert problem(refused) == (429, "too_many_streams")
                assert int(refused.headers["retry-after"]) >= 1
        finish(tenant, job["id"])
        deadline = time.monotonic() + 20
        while asked(url, tenant, events).status_code == 429:
            assert time.monotonic() < deadline, "a stream that has ended keeps its place"
            time.sleep(0.05)


def test_all_tenants_together_have_so_many_streams(
    settings: Settings, tenant: Tenant, corpus: str, new_tenant: NewTenant
) -> None:
    job, other = submit(tenant, query={"text": "a"}), new_tenant()
    other.http.post("/v1/corpora", json={"name": "things"}).raise_for_status()
    theirs = submit(other, query={"text": "a"})
    with (
        few(settings, max_streams=1, max_streams_of_tenant=1) as url,
        listening(url, tenant, job),
    ):
        refused = asked(url, other, theirs["href"] + "/events")
        assert problem(refused) == (429, "too_many_streams")


def test_who_would_be_one_too_many_to_wait_is_answered_at_once(
    settings: Settings, tenant: Tenant, corpus: str
) -> None:
    job = submit(tenant, query={"text": "a"})
    body = {"corpus": corpus, "query": {"text": "b"}}
    with (
        few(settings, max_streams=9, max_streams_of_tenant=1) as url,
        listening(url, tenant, job),
    ):
        headers = dict(tenant.http.headers) | WAIT
        shown = httpx.get(url + job["href"], headers=headers, timeout=30)
        taken = httpx.post(f"{url}/v1/jobs", json=body, headers=headers, timeout=30)
    assert (shown.status_code, taken.status_code) == (200, 202)
    for answer in (shown, taken):
        assert "preference-applied" not in answer.headers
        assert answer.headers["retry-after"] == "1"


def test_events_end_with_their_key(base_url: str, tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, query={"text": "a"})
    with listening(base_url, tenant, job) as lines:
        revoke(tenant)
        assert not any(line.startswith(":") for line in lines), "it went on, as its pings say"


def test_who_waits_is_shown_nothing_under_a_key_that_was_revoked(
    monkeypatch: pytest.MonkeyPatch, tenant: Tenant, corpus: str
) -> None:
    job = submit(tenant, query={"text": "a"})
    monkeypatch.setattr("api.routes.jobs.until_final", _until_revoked(tenant))
    assert problem(tenant.http.get(job["href"], headers=WAIT)) == (401, "invalid_key")


def _until_revoked(tenant: Tenant) -> Any:
    async def until_final(*_: object) -> None:
        revoke(tenant)

    return until_final


def test_a_download_breaks_off_with_its_key_and_that_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, log_file: Path, tenant: Tenant, corpus: str
) -> None:
    def written(*_: object) -> Iterator[bytes]:
        yield b"before, "
        revoke(tenant)
        yield b"meanwhile"
        yield b", after"

    monkeypatch.setattr(long_reads, "ASK_AGAIN_S", 0)
    monkeypatch.setattr(exports, "written", written)
    got: list[bytes] = []
    path = submit(tenant, query={"text": "a"})["href"] + "/export"
    with tenant.http.stream("GET", path) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            got.extend(answer.iter_bytes())
    assert b"".join(got) == b"before, meanwhile"
    logged = [json.loads(line) for line in log_file.read_text().splitlines()]
    last = [one for one in logged if one["event"] in {"defect", "answer broken off"}][-1]
    assert (last["event"], last["code"]) == ("answer broken off", "invalid_key")
