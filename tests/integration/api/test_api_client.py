"""The client and the command line against a real API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from repick.cli.app import app
from repick.client import ApiError, Client, Item, Query
from repick.jobs import JobState
from repick.settings import Settings
from tests import bad_images
from tests.integration.api.harness import Tenant, finish

INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " from repick.cli import main; main()"
)
"""Shells start what is in the background with SIGINT ignored, and it is inherited."""


@pytest.fixture
def client(tenant: Tenant) -> Iterator[Client]:
    with Client(str(tenant.http.base_url), tenant.key) as opened:
        yield opened


def test_from_an_empty_corpus_to_a_ranking(client: Client, tenant: Tenant) -> None:
    made = client.create_corpus("things")
    assert (made.items, made.encoder.name, made.untrained) == (0, "clip-tiny", True)
    photo = bad_images.photo()
    items = [Item("cup", "a cup", photo), Item("dog", image=photo), Item("bad", image=b"no")]
    done = client.put_items("things", items)
    assert (done.stored, [one.code for one in done.failed]) == (2, ["not_image"])
    assert client.corpora() == ["things"]
    assert client.corpus("things").pending == 2

    job = client.submit("things", Query("a", photo), k=2, metadata={"run": 1})
    worker = threading.Thread(target=finish, args=(tenant, job.id))
    worker.start()
    told: list[str] = []
    ranked = client.wait(job, lambda one: told.append(one.state), timeout_s=20)
    worker.join()
    assert told[-1] == ranked.state == JobState.SUCCEEDED
    assert [hit.id for hit in ranked.rankings[0].hits] == ["dog", "cup"]
    assert [one.id for one in client.jobs()] == [job.id]
    with pytest.raises(ApiError) as caught:
        client.cancel(job.id)
    assert (caught.value.status, caught.value.code) == (409, "job_final")


def test_every_page_of_a_jobs_rankings_is_there(client: Client, tenant: Tenant) -> None:
    client.create_corpus("things")
    job = client.submit("things", [Query(str(no)) for no in range(120)])
    finish(tenant, job.id)
    assert [one.query for one in client.job(job.id).rankings] == list(range(120))


def run(tenant: Tenant, *arguments: str, code: int = 0, columns: int = 200) -> Result:
    environment = {"REPICK_API_URL": str(tenant.http.base_url), "REPICK_API_KEY": tenant.key}
    environment["COLUMNS"] = str(columns)
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code == code, result.output
    return result


def test_loading_a_folder_says_how_many_files_it_passed_over(
    tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPICK_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.png").write_bytes(bad_images.photo("PNG"))
    for no in range(7):
        (folder / f"{no}.heic").write_bytes(b"not ours")
    run(tenant, "corpus", "create", "things")
    said = run(tenant, "corpus", "load", "things", str(folder))
    assert "1 stored" in said.stdout
    names = ", ".join(f"{no}.heic" for no in range(5))
    assert "7 files passed over" in said.stderr
    assert f": {names} and 2 more" in said.stderr
    value = json.loads(run(tenant, "corpus", "load", "things", str(folder), "--json").stdout)
    assert value["passed_over"] == {"files": 7, "first": names.split(", ")}
    (folder / "b.txt").write_text("a text")
    for no in range(7):
        (folder / f"{no}.heic").unlink()
    assert "passed over" not in run(tenant, "corpus", "load", "things", str(folder)).stderr


def test_the_command_line_from_a_corpus_to_a_ranking(tenant: Tenant, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bad_images.photo("PNG"))
    file = tmp_path / "items.jsonl"
    file.write_text('{"id": "cup", "image": "a.png"}\n{"id": "dog", "text": "a dog"}\n')
    run(tenant, "corpus", "create", "things")
    assert "2 stored" in run(tenant, "corpus", "put", "things", str(file)).output
    assert json.loads(run(tenant, "corpus", "show", "things", "--json").stdout)["items"] == 2
    assert run(tenant, "corpus", "list").stdout.split() == ["things"]

    job_id = run(tenant, "job", "submit", "things", "--text", "a", "--k", "2").stdout.strip()
    assert "queued" in run(tenant, "job", "list").stdout
    run(tenant, "job", "wait", job_id, "--timeout", "0", code=3)
    finish(tenant, job_id)
    shown = run(tenant, "job", "wait", job_id).stdout
    assert "succeeded" in shown
    assert "2 → 1" in shown
    value = json.loads(run(tenant, "job", "show", job_id, "--json").stdout)
    assert [hit["id"] for hit in value["rankings"][0]["hits"]] == ["dog", "cup"]

    other = run(tenant, "job", "submit", "things", "--text", "a", "--text", "b").stdout.strip()
    assert "cancelled" in run(tenant, "job", "cancel", other).stdout
    run(tenant, "job", "wait", other, code=3)
    run(tenant, "corpus", "delete", "things")


def test_the_command_line_takes_a_jobs_options_and_lists_models(tenant: Tenant) -> None:
    run(tenant, "corpus", "create", "things")
    arguments = ["job", "submit", "things", "--text", "a", "--json", "--k", "7"]
    options = ["--filter", '{"field": "n", "eq": 1}', "--blend", "0.5", "--min-score", "0.1"]
    options += ["--kind", "batch", "--time-limit", "60"]
    made = json.loads(run(tenant, *arguments, *options).stdout)
    job = tenant.http.get(f"/v1/jobs/{made['id']}").json()
    assert job["filter"] == {"field": "n", "eq": 1}
    assert (job["blend"], job["min_score"], job["kind"]) == (0.5, 0.1, "batch")
    assert job["deadline"] is not None
    assert "not JSON" in run(tenant, *arguments, "--filter", "{", code=2).stderr
    assert made["id"] in run(tenant, "job", "list", "--corpus", "things", columns=80).stdout
    assert made["id"] not in run(tenant, "job", "list", "--corpus", "other").stdout
    listed = run(tenant, "models").stdout
    assert "clip-tiny" in listed
    assert "encoder" in listed


def test_waiting_for_a_corpus_that_nobody_embeds_ends_with_its_own_code(tenant: Tenant) -> None:
    run(tenant, "corpus", "create", "things")
    assert "things" in run(tenant, "corpus", "wait", "things").stdout
    tenant.http.put("/v1/corpora/things/items", json={"items": [{"id": "a", "text": "a"}]})
    assert "1 items" in run(tenant, "corpus", "wait", "things", "--timeout", "0", code=3).stderr


def test_who_stops_waiting_is_told_the_job_that_goes_on(tenant: Tenant) -> None:
    run(tenant, "corpus", "create", "things")
    arguments = ["job", "submit", "things", "--text", "a", "--wait"]
    environment = {"REPICK_API_URL": str(tenant.http.base_url), "REPICK_API_KEY": tenant.key}
    waiting = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *arguments],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    patience = threading.Timer(30, waiting.kill)
    patience.start()
    while not (jobs := tenant.http.get("/v1/jobs").json()["items"]):
        assert waiting.poll() is None
        time.sleep(0.02)
    assert waiting.stderr is not None
    said = waiting.stderr.readline()  # that it waits
    waiting.send_signal(signal.SIGINT)
    _, rest = waiting.communicate()
    patience.cancel()
    assert waiting.returncode == 130
    assert jobs[0]["id"] in said
    assert f"repick job wait {jobs[0]['id']}" in rest


def test_keys_are_made_listed_and_revoked_in_the_database(
    tenant: Tenant, settings: Settings
) -> None:
    environment = {"REPICK_DATABASE_URL": settings.database_url, "COLUMNS": "200"}

    def key(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["key", *arguments], env=environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    made = key("create", "robot", "--tenant", "robots", "--scope", "read", "--days", "1").strip()
    headers = {"Authorization": f"Bearer {made}"}
    assert tenant.http.get("/v1/jobs", headers=headers).status_code == 200
    assert tenant.http.post("/v1/jobs", headers=headers).status_code == 403
    (listed,) = json.loads(key("list", "--tenant", "robots", "--json"))
    assert (listed["name"], listed["scopes"]) == ("robot", ["read"])
    assert made not in key("list", "--tenant", "robots")
    key("revoke", listed["prefix"], "--tenant", "robots")
    assert tenant.http.get("/v1/jobs", headers=headers).status_code == 401
