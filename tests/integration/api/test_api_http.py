"""What holds for every endpoint: keys, scopes, the cap, health, figures."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from api.problems import DOCS_POLICY, SECURITY_HEADERS
from repick.settings import Settings
from repick.store import keys
from tests.integration.api.harness import NewTenant, Tenant, problem, submit

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


@pytest.mark.parametrize("length", [9, 20_000])
def test_a_stranger_is_told_nothing_of_a_wrong_body(length: int, base_url: str) -> None:
    headers = {"Authorization": f"Bearer {UNKNOWN}", "Content-Type": "application/json"}
    response = httpx.post(base_url + "/v1/jobs", content=b"{" * length, headers=headers)
    assert problem(response) == (401, "invalid_key")


def test_a_strangers_large_body_is_not_waited_for(tenant: Tenant) -> None:
    port = tenant.settings.api_port
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {UNKNOWN}\r\n"
    kind = "Content-Type: application/json\r\nContent-Length: 20000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall((head + kind).encode() + b"{")
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


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


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/jobs", 200),
        ("POST", "/v1/corpora", 415),
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/jobs", 405),
        ("GET", "/v1/jobs?limit=x", 422),
        ("GET", "/v1/jobs?cursor=x", 400),
        ("GET", "/livez", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/docs", 200),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_every_answer_has_the_security_headers(
    base_url: str, tenant: Tenant, method: str, path: str, status: int, known: bool
) -> None:
    headers = dict(tenant.http.headers) if known else {}
    response = httpx.request(method, base_url + path, headers=headers)
    closed = not known and path.startswith("/v1/") and status not in (404, 405)
    assert response.status_code == (401 if closed else status), response.text
    own = {"Content-Security-Policy": DOCS_POLICY} if path == "/docs" else {}
    for name, value in (SECURITY_HEADERS | own).items():
        assert response.headers.get_list(name) == [value]


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


def test_docs_page_needs_no_other_host(base_url: str) -> None:
    page = httpx.get(f"{base_url}/docs").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(addresses) >= 2
    for address in addresses:
        assert address.startswith("/static-offline-docs/"), address
        assert httpx.get(base_url + address).status_code == 200


@pytest.mark.parametrize(
    "address", ["jobs?sttae=failed", "corpora?State=x", "jobs?limit=3&q=1", "corpora/a/items/b?q=1"]
)
def test_a_parameter_that_is_not_there_is_refused(tenant: Tenant, address: str) -> None:
    assert problem(tenant.http.get(f"/v1/{address}")) == (422, "unknown_field")
