"""A connection lost at COMMIT: read back by id, never a false 202, never a false error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
from sqlalchemy import make_url, text

from repick.processes import free_port
from repick.settings import Settings
from tests.integration.api.cutting import COMMIT, STATEMENT, Cut, CuttingProxy, cutting
from tests.integration.api.harness import Tenant, problem, serving

BODY = {"corpus": "things", "query": {"text": "a"}}


@dataclass(frozen=True)
class Shaky:
    """An API whose way to Postgres goes through the proxy."""

    proxy: CuttingProxy
    http: httpx.Client

    def submit(self, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.http.post("/v1/jobs", json=BODY, headers=headers)


@contextmanager
def shaky(settings: Settings, tenant: Tenant) -> Iterator[Shaky]:
    address = make_url(settings.database_url)
    assert address.host is not None
    assert address.port is not None
    with cutting(address.host, address.port) as proxy:
        through = address.set(host="127.0.0.1", port=proxy.port)
        url = through.render_as_string(hide_password=False)
        changes = {"database_url": url, "api_port": free_port()}
        with (
            serving(settings.model_copy(update=changes)) as base,
            httpx.Client(base_url=base, headers=tenant.http.headers, timeout=30) as http,
        ):
            assert http.get("/v1/jobs").status_code == 200
            yield Shaky(proxy, http)


@pytest.mark.parametrize("cut", list(Cut))
@pytest.mark.parametrize("key", [None, "a-key"])
def test_job_is_stored_once_and_said_to_be(
    settings: Settings, tenant: Tenant, corpus: str, cut: Cut, key: str | None
) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    with shaky(settings, tenant) as api:
        api.proxy.at = STATEMENT if key is None else COMMIT
        api.proxy.armed = cut
        response = api.submit(headers)
        assert api.proxy.cuts == 1
        assert response.status_code == 202, response.text
        assert tenant.http.get(response.json()["href"]).json()["state"] == "queued"
        again = api.submit(headers)
    assert again.status_code == 202
    assert tenant.rows()["job"] == (2 if key is None else 1)
    assert tenant.rows()["job_query"] == tenant.rows()["slice"] == tenant.rows()["job"]


def test_where_nobody_can_know_the_answer_says_so_and_names_the_job(
    settings: Settings, tenant: Tenant, corpus: str
) -> None:
    with shaky(settings, tenant) as api:
        api.proxy.stay_down, api.proxy.at = True, STATEMENT
        api.proxy.armed = Cut.AFTER
        response = api.submit()
    assert problem(response) == (503, "commit_unknown")
    assert response.headers["retry-after"]
    job = response.json()["ids"]["job"]
    with tenant.database.begin() as connection:
        found = connection.execute(text("SELECT count(*) FROM job WHERE id = :id"), {"id": job})
        assert found.scalar_one() == 1
