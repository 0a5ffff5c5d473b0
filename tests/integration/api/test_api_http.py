"""What holds for every endpoint: keys, scopes, the cap, health, figures, servers that are down."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from repick.processes import free_port
from repick.settings import Settings
from repick.store import keys
from tests.integration.api.harness import NewTenant, Tenant, problem, serving, submit

UNKNOWN = f"rpk_{'0' * 12}_{'0' * 64}"
BODY = {"corpus": "things", "query": {"text": "a"}}


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_key"),
        ("", "invalid_key"),
        ("Bearer", "invalid_key"),
        ("Bearer rpk_x", "invalid_key"),
        (f"Bearer {UNKNOWN}", "invalid_key"),
        (f"Basic {UNKNOWN}", "invalid_key"),
        (f"Bearer {UNKNOWN} {UNKNOWN}", "invalid_key"),
        ("Bearer ' OR 1=1 --", "invalid_key"),
    ],
)
def test_without_a_live_key_nothing_is_answered(
    header: str | None, code: str, base_url: str, tenant: Tenant
) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("PUT", "/v1/corpora/a/items")):
        response = httpx.request(method, base_url + path, headers=headers)
        assert problem(response) == (401, code)
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_key_with_a_wrong_secret_is_unknown(tenant: Tenant) -> None:
    wrong = tenant.key[:-1] + ("0" if tenant.key[-1] != "0" else "1")
    response = tenant.http.get("/v1/jobs", headers={"Authorization": f"Bearer {wrong}"})
    assert problem(response) == (401, "invalid_key")


def test_a_revoked_or_expired_key_is_refused_at_once(tenant: Tenant) -> None:
    with tenant.database.begin() as connection:
        assert keys.revoke_key(connection, tenant.id, tenant.key.split("_")[1])
        old = keys.create_key(connection, tenant.id, "old", lifetime=timedelta(seconds=-1))
    assert problem(tenant.http.get("/v1/jobs")) == (401, "invalid_key")
    response = tenant.http.get("/v1/jobs", headers={"Authorization": f"Bearer {old}"})
    assert problem(response) == (401, "invalid_key")


@pytest.mark.parametrize("name", ["api_key", "key", "access_token", "KEY"])
def test_a_key_in_the_address_is_refused_even_beside_a_good_one(
    name: str, tenant: Tenant, log_file: Path
) -> None:
    response = tenant.http.get("/v1/jobs", params={name: tenant.key})
    assert problem(response) == (401, "key_in_url")
    assert tenant.key not in response.text
    assert tenant.key not in log_file.read_text()


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("submit", "GET", "/v1/jobs"),
        ("ingest", "GET", "/v1/corpora"),
        ("submit", "GET", "/v1/scorers"),
        ("read", "POST", "/v1/jobs"),
        ("ingest", "POST", "/v1/jobs/01890000-0000-7000-8000-000000000000/cancel"),
        ("read", "POST", "/v1/corpora"),
        ("submit", "PUT", "/v1/corpora/things/items"),
        ("read", "DELETE", "/v1/corpora/things"),
        ("submit", "DELETE", "/v1/corpora/things/items/a"),
    ],
)
def test_a_key_does_only_what_its_scopes_allow(
    scope: str, method: str, path: str, new_tenant: NewTenant
) -> None:
    assert problem(new_tenant(scope).http.request(method, path)) == (403, "missing_scope")


def test_a_body_is_not_looked_at_before_the_key(base_url: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = httpx.post(f"{base_url}/v1/jobs", content=b"{", headers=headers)
    assert problem(response) == (401, "missing_key")


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/v1/jobs"), ("PATCH", "/v1/corpora/a"), ("PUT", "/v1/jobs"), ("POST", "/livez")],
)
def test_a_wrong_method_is_405_with_the_right_ones(method: str, path: str, tenant: Tenant) -> None:
    response = tenant.http.request(method, path)
    assert problem(response) == (405, "method_not_allowed")
    assert response.headers["allow"]


def test_an_announced_length_over_the_cap_is_refused_unread(
    tenant: Tenant, settings: Settings
) -> None:
    with _connected(tenant) as connection:
        length = settings.max_body_bytes + 1
        connection.sendall(_head(tenant, f"Content-Length: {length}"))
        assert _status_and_body(connection) == (413, "body_too_large")


def test_a_chunked_body_is_cut_where_it_passes_the_cap(tenant: Tenant, settings: Settings) -> None:
    before = tenant.rows()
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with _connected(tenant) as connection:
        connection.sendall(_head(tenant, "Transfer-Encoding: chunked"))
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 20 * settings.max_body_bytes:
                connection.sendall(chunk)
                sent += 0x100000
        assert sent < 4 * settings.max_body_bytes, "the stream was not cut"
        assert _status_and_body(connection) == (413, "body_too_large")
    assert tenant.rows() == before


@contextlib.contextmanager
def _connected(tenant: Tenant) -> Iterator[socket.socket]:
    url = urlsplit(str(tenant.http.base_url))
    with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
        yield connection


def _head(tenant: Tenant, header: str) -> bytes:
    lines = ["POST /v1/jobs HTTP/1.1", "Host: test", f"Authorization: Bearer {tenant.key}"]
    return "\r\n".join([*lines, "Content-Type: application/json", header, "", ""]).encode()


def _status_and_body(connection: socket.socket) -> tuple[int, str]:
    """The answer, read to the end of the connection, which the server must close."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"]


def test_a_request_id_is_kept_where_it_is_harmless(tenant: Tenant) -> None:
    kept = tenant.http.get("/livez", headers={"X-Request-ID": "abc-1"})
    assert kept.headers["x-request-id"] == "abc-1"
    replaced = tenant.http.get("/livez", headers={"X-Request-ID": "a b<script>"})
    assert replaced.headers["x-request-id"].isalnum()


def test_no_answer_allows_other_origins(tenant: Tenant) -> None:
    response = tenant.http.get("/v1/jobs", headers={"Origin": "https://example.com"})
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_health_and_figures_need_no_key_and_hold_none(
    base_url: str, tenant: Tenant, corpus: str
) -> None:
    submit(tenant, query={"text": "a"})
    assert httpx.get(f"{base_url}/livez").json() == {"status": "ok"}
    ready = httpx.get(f"{base_url}/readyz")
    assert (ready.status_code, ready.json()["database"]) == (200, "ok")
    figures = httpx.get(f"{base_url}/metrics").text
    assert 'repick_queue_depth{queue="coarse.clip-tiny"}' in figures
    assert 'repick_queue_oldest_age_seconds{queue="coarse.clip-tiny"}' in figures
    assert 'repick_jobs{state="queued"}' in figures
    assert "repick_embeddings_pending" in figures
    assert 'route="/v1/corpora/{corpus}/items",status="200"' in figures
    assert "things" not in figures
    assert tenant.key not in figures


def test_the_description_has_an_example_of_each_body_and_the_errors(base_url: str) -> None:
    document = httpx.get(f"{base_url}/openapi.json").json()
    for path, method in (
        ("/v1/jobs", "post"),
        ("/v1/corpora", "post"),
        ("/v1/corpora/{corpus}/items", "put"),
    ):
        operation = document["paths"][path][method]
        body = operation["requestBody"]["content"]["application/json"]
        name = body["schema"]["$ref"].rsplit("/", 1)[1]
        assert name in document["components"]["schemas"]
        assert body["examples"]
        assert {"401", "403", "413", "415", "422", "503"} <= set(operation["responses"])
        assert operation["security"] == [{"key": []}]
    assert httpx.get(f"{base_url}/docs").status_code == 200


def test_the_examples_of_the_description_are_accepted(base_url: str, tenant: Tenant) -> None:
    paths = httpx.get(f"{base_url}/openapi.json").json()["paths"]

    def examples(path: str, method: str) -> list[object]:
        content = paths[path][method]["requestBody"]["content"]["application/json"]
        return [one["value"] for one in content["examples"].values()]

    (corpus,) = examples("/v1/corpora", "post")
    assert tenant.http.post("/v1/corpora", json=corpus).status_code == 201
    (items,) = examples("/v1/corpora/{corpus}/items", "put")
    answer = tenant.http.put("/v1/corpora/photos/items", json=items).json()
    assert (answer["stored"], answer["failed"]) == (3, [])
    for job in examples("/v1/jobs", "post"):
        assert isinstance(job, dict)
        wanted = {name: value for name, value in job.items() if name != "scorer"}
        assert tenant.http.post("/v1/jobs", json=wanted).status_code == 202


def test_stopping_the_process_answers_those_who_wait_for_a_job(
    settings: Settings, tenant: Tenant, corpus: str
) -> None:
    job = submit(tenant, query={"text": "a"})
    port = free_port()
    environment = os.environ | {
        "REPICK_DATABASE_URL": settings.database_url,
        "REPICK_BROKER_URL": settings.broker_url,
        "REPICK_DATA_DIR": str(settings.data_dir),
        "REPICK_API_PORT": str(port),
        "REPICK_SECRET": "a secret of this test",
    }
    command = [sys.executable, "-m", "api"]
    with (
        subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _until_it_answers(process, f"{url}/livez")
            headers = dict(tenant.http.headers) | {"Prefer": "wait=50"}
            waiting = pool.submit(httpx.get, url + job["href"], headers=headers, timeout=60)
            _until_asked_for(url)
            process.terminate()
            assert waiting.result(timeout=8).json()["state"] == "queued"
            process.wait(timeout=10)
        finally:
            process.kill()


def _until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, "the process ended"
        assert time.monotonic() < deadline, "it did not answer in time"
        try:
            httpx.get(url).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return


def _until_asked_for(url: str) -> None:
    """Until the server is busy with a request beside ours."""
    deadline = time.monotonic() + 10
    while "repick_http_requests_running 2.0" not in httpx.get(f"{url}/metrics").text:
        assert time.monotonic() < deadline, "the request did not arrive"
        time.sleep(0.02)


def test_a_broker_that_is_down_fails_no_submit(
    settings: Settings, tenant: Tenant, corpus: str
) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    changes = {"broker_url": nowhere, "api_port": free_port()}
    with serving(settings.model_copy(update=changes)) as url:
        for _ in range(3):
            response = httpx.post(
                f"{url}/v1/jobs", json=BODY, headers=tenant.http.headers, timeout=20
            )
            assert response.status_code == 202, response.text
        ready = httpx.get(f"{url}/readyz", timeout=20)
        assert (ready.status_code, ready.json()["broker"]) == (200, "unavailable")
    assert tenant.rows()["job"] == 3


def test_a_database_that_is_down_is_503_with_retry_after(
    settings: Settings, tenant: Tenant
) -> None:
    nowhere = f"postgresql+psycopg://a:b@127.0.0.1:{free_port()}/c"
    changes = {"database_url": nowhere, "api_port": free_port()}
    with serving(settings.model_copy(update=changes)) as url:
        response = httpx.post(f"{url}/v1/jobs", json=BODY, headers=tenant.http.headers, timeout=20)
        assert problem(response) == (503, "unavailable")
        assert response.headers["retry-after"] == "2"
        assert nowhere not in response.text
        ready = httpx.get(f"{url}/readyz", timeout=20)
        assert (ready.status_code, ready.json()["database"]) == (503, "unavailable")
        assert httpx.get(f"{url}/livez").status_code == 200
        assert "repick_database_up 0.0" in httpx.get(f"{url}/metrics", timeout=20).text


def test_a_database_without_models_has_nothing_to_offer_yet(
    log_file: Path, settings: Settings, database_url: str
) -> None:
    changes = {"database_url": database_url, "api_port": free_port()}
    with serving(settings.model_copy(update=changes)) as url:
        key = keys.ensure_local_key(database_url, settings.data_dir / "key-of-the-empty-database")
        headers = {"Authorization": f"Bearer {key}"}
        response = httpx.post(f"{url}/v1/corpora", json={"name": "a"}, headers=headers)
        assert problem(response) == (503, "no_encoder")
        assert response.headers["retry-after"]


def test_a_database_that_is_not_migrated_is_not_ready(
    log_file: Path, settings: Settings, empty_database_url: str
) -> None:
    changes = {"database_url": empty_database_url, "api_port": free_port()}
    with serving(settings.model_copy(update=changes)) as url:
        ready = httpx.get(f"{url}/readyz", timeout=20)
        assert (ready.status_code, ready.json()["database"]) == (503, "not migrated")
        response = httpx.get(f"{url}/v1/jobs", headers={"Authorization": f"Bearer {UNKNOWN}"})
        assert problem(response) == (500, "internal_error")
        assert "api_key" not in response.text
        logged = [json.loads(line) for line in log_file.read_text().splitlines()]
        (defect,) = [one for one in logged if one["event"] == "defect"]
        assert defect["request_id"] == response.headers["x-request-id"]
        assert "UndefinedTable" in defect["exception"]
        assert response.headers["x-content-type-options"] == "nosniff"
