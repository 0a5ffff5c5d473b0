"""Images by address over HTTP: good ones are stored, bad ones get their code, and nothing private
is ever connected to."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from api.services import UPLOADS_OF_TENANT
from api.turns import MOST
from repick.content.fetch import ImageFetcher
from repick.processes import free_port
from repick.settings import Settings
from tests import bad_images
from tests.integration.api.harness import Tenant, problem, serving
from tests.web import PUBLIC, Web, answer, serving_web

NAMES = {"a.example": [PUBLIC], "inside.example": ["10.0.0.1"], "mixed.example": [PUBLIC, "::1"]}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serving_web(NAMES) as web:
        yield web


@pytest.fixture(scope="module")
def allowing(settings: Settings, web: Web) -> Iterator[str]:
    """An API that allows the hosts of the tests' web."""
    changed = {"url_hosts": ",".join(NAMES), "api_port": free_port()}
    fetcher = ImageFetcher(
        tuple(NAMES),
        max_bytes=settings.max_image_bytes,
        max_bytes_together=settings.max_body_bytes,
        seconds=5,
        resolver=web.resolve,
        backend=web.backend,
        context=web.context,
    )
    with serving(settings.model_copy(update=changed), fetcher) as url:
        yield url


@pytest.fixture
def http(allowing: str, tenant: Tenant, web: Web) -> Iterator[httpx.Client]:
    web.connected.clear()
    headers = {"Authorization": f"Bearer {tenant.key}"}
    with httpx.Client(base_url=allowing, headers=headers, timeout=30, verify=False) as client:
        yield client


def test_items_are_fetched_each_with_its_own_fate(
    http: httpx.Client, web: Web, tenant: Tenant, corpus: str
) -> None:
    photo = bad_images.photo("PNG")
    web.pages |= {"/good": answer(photo), "/page": answer(b"<html>no</html>")}
    wanted = {"good": "a.example/good", "page": "a.example/page", "in": "inside.example/"}
    wanted |= {"mixed": "mixed.example/"}
    items = [{"id": name, "image": f"https://{where}"} for name, where in wanted.items()]
    found = http.put(f"/v1/corpora/{corpus}/items", json={"items": items}).json()
    assert found["stored"] == 1
    assert {one["id"]: one["code"] for one in found["failed"]} == {
        "page": "not_image",
        "in": "address_blocked",
        "mixed": "address_blocked",
    }
    assert set(web.connected) == {PUBLIC}
    assert http.get(f"/v1/corpora/{corpus}/items/good/image").content == photo


def test_standing_queries_are_fetched_and_one_that_cannot_be_refuses_them_all(
    http: httpx.Client, web: Web, tenant: Tenant, corpus: str
) -> None:
    photo, path = bad_images.photo("PNG"), f"/v1/corpora/{corpus}/queries"
    web.pages["/good"] = answer(photo)
    good = {"id": "good", "image": "https://a.example/good"}
    bad = {"id": "bad", "image": "https://inside.example/"}
    refused = http.put(path, json={"queries": [good, bad]})
    assert problem(refused) == (422, "address_blocked")
    assert refused.json()["field"] == "queries[1].image"
    assert http.get(path).json()["items"] == []
    assert http.put(path, json={"queries": [good]}).json() == {"stored": 1, "unchanged": 0}
    assert http.get(f"{path}/good").json()["image"] == hashlib.sha256(photo).hexdigest()


def test_a_query_that_cannot_be_fetched_refuses_its_job(
    http: httpx.Client, web: Web, tenant: Tenant, corpus: str
) -> None:
    before = tenant.rows()
    body = {"corpus": corpus, "query": {"image": f"https://inside.example/{uuid.uuid4()}"}}
    assert problem(http.post("/v1/jobs", json=body)) == (422, "address_blocked")
    body["query"] = {"image": "https://127.0.0.1/"}
    assert problem(http.post("/v1/jobs", json=body)) == (422, "host_not_allowed")
    assert web.connected == []
    assert tenant.rows() == before


def test_jobs_whose_images_are_slow_to_come_do_not_hold_up_jobs_of_text(
    settings: Settings, web: Web, tenant: Tenant, corpus: str
) -> None:
    gate, coming = threading.Event(), threading.Semaphore(0)

    def slow(host: str, port: int) -> Sequence[str]:
        coming.release()
        assert gate.wait(30)
        return web.resolve(host, port)

    fetcher = ImageFetcher(
        tuple(NAMES),
        max_bytes=settings.max_image_bytes,
        max_bytes_together=settings.max_body_bytes,
        seconds=60,
        resolver=slow,
        backend=web.backend,
        context=web.context,
    )
    web.pages["/good"] = answer(bad_images.photo("PNG"))
    changed = {"url_hosts": ",".join(NAMES), "api_port": free_port()}
    headers = {"Authorization": f"Bearer {tenant.key}"}
    slow_ones = MOST
    with (
        serving(settings.model_copy(update=changed), fetcher) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60, verify=False) as client,
        ThreadPoolExecutor(slow_ones) as threads,
    ):

        def submit(query: dict[str, str]) -> int:
            return client.post("/v1/jobs", json={"corpus": corpus, "query": query}).status_code

        try:
            image = {"image": "https://a.example/good"}
            waiting = [threads.submit(submit, image) for _ in range(slow_ones)]
            for _ in range(UPLOADS_OF_TENANT):  # the others wait behind these
                assert coming.acquire(timeout=20)
            assert submit({"text": "a query of words"}) == 202
        finally:
            gate.set()
        assert [one.result() for one in waiting] == [202] * slow_ones
