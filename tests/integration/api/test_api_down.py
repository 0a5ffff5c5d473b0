"""Servers that are down, empty or stopping."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from repick.processes import free_port
from repick.settings import Settings
from repick.store import keys
from tests import bad_images
from tests.integration.api.harness import Tenant, problem, serving, submit

UNKNOWN = f"rpk_{'0' * 12}_{'0' * 64}"
BODY = {"corpus": "things", "query": {"text": "a"}}
MOUNTING = ("unshare", "--map-root-user", "--mount", "sh", "-c")


def _can_mount() -> bool:
    try:
        return not subprocess.call(
            [*MOUNTING, "mount -t tmpfs none /mnt"], stderr=subprocess.DEVNULL, timeout=10
        )
    except OSError:
        return False


def test_stopping_the_process_answers_those_who_wait_for_a_job(
    settings: Settings, tenant: Tenant, corpus: str
) -> None:
    job = submit(tenant, query={"text": "a"})
    with _process(settings) as (process, url), ThreadPoolExecutor(1) as pool:
        headers = dict(tenant.http.headers) | {"Prefer": "wait=50"}
        waiting = pool.submit(httpx.get, url + job["href"], headers=headers, timeout=60)
        _until_asked_for(url)
        process.terminate()
        assert waiting.result(timeout=8).json()["state"] == "queued"
        process.wait(timeout=10)


@pytest.mark.skipif(not _can_mount(), reason="this system mounts nothing for its users")
def test_a_full_disk_is_503_and_stores_nothing_of_what_it_has_no_room_for(
    settings: Settings, tenant: Tenant, corpus: str, tmp_path: Path
) -> None:
    small, large = bad_images.photo("PNG"), bad_images.photo("PNG") + os.urandom(400_000)
    disk = f"mount -t tmpfs -o size=200k none {tmp_path}"
    mounting = [*MOUNTING, f'{disk} && exec "$@"', "sh"]
    with _process(settings.model_copy(update={"data_dir": tmp_path}), mounting) as (_, url):

        def put(name: str, image: bytes) -> httpx.Response:
            item = {"id": name, "image": base64.b64encode(image).decode()}
            path = f"{url}/v1/corpora/{corpus}/items"
            return httpx.put(path, headers=tenant.http.headers, json={"items": [item]})

        assert put("small", small).json()["stored"] == 1
        for _ in range(3):  # nothing of a try is left that would fill the disk
            refused = put("large", large)
            assert problem(refused) == (503, "unavailable")
            assert int(refused.headers["Retry-After"]) > 0
        other = bad_images.photo("JPEG")
        assert put("other", other).json()["stored"] == 1
    listed = tenant.http.get(f"/v1/corpora/{corpus}/items").json()["items"]
    assert {one["id"] for one in listed} >= {"other", "small"}
    assert "large" not in {one["id"] for one in listed}


@contextmanager
def _process(
    settings: Settings, through: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """An API process that answers, started `through` another command, and its address."""
    port = free_port()
    environment = os.environ | {
        "REPICK_DATABASE_URL": settings.database_url,
        "REPICK_BROKER_URL": settings.broker_url,
        "REPICK_DATA_DIR": str(settings.data_dir),
        "REPICK_API_PORT": str(port),
        "REPICK_SECRET": "a secret of this test",
    }
    command = [*through, sys.executable, "-m", "api"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _until_it_answers(process, f"{url}/livez")
            yield process, url
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
        assert "UndefinedFunction" in defect["exception"]
        assert response.headers["x-content-type-options"] == "nosniff"
