"""Diffs, exports, reports and webhooks over HTTP, through the client and the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from repick import nightly
from repick.cli.app import app
from tests.integration.api.harness import NewTenant, Tenant, finish, problem, submit

QUERIES = [{"id": "a cup", "text": "a cup"}, {"id": "dogs", "text": "a dog"}]
NIGHTLY = {"name": "nightly", "corpus": "things", "cron": "30 2 * * *", "k": 2}


def ended(tenant: Tenant, *hits: str) -> str:
    job = submit(tenant, queries=[{"text": "one"}, {"text": "two"}], k=3)
    finish(tenant, job["id"], hits)
    return str(job["id"])


def two_runs(tenant: Tenant) -> tuple[str, str]:
    tenant.http.put("/v1/corpora/things/queries", json={"queries": QUERIES}).raise_for_status()
    tenant.http.post("/v1/schedules", json=NIGHTLY).raise_for_status()
    made = []
    for hits in (("cup", "dog"), ("hat", "cup")):
        run = tenant.http.post("/v1/schedules/nightly/runs", json={}).json()["id"]
        finish(tenant, run, hits)
        while nightly.settle_ended(tenant.database):
            pass
        made.append(run)
    return made[0], made[1]


def test_diff_of_two_jobs(tenant: Tenant, corpus: str) -> None:
    before, after = ended(tenant, "cup", "dog"), ended(tenant, "dog", "hat", "cup")
    found = tenant.http.get(f"/v1/runs/{before}/diff/{after}").json()
    first = found["items"][0]
    assert (found["next"], len(found["items"]), first["compared"]) == (None, 2, True)
    assert (first["entered"], first["left"]) == ({"hat": 2}, {})
    assert [(c["id"], c["before"], c["after"]) for c in first["changed"]][:2] == [
        ("cup", 2, 1),
        ("dog", 1, 3),
    ]
    summary = tenant.http.get(f"/v1/runs/{before}/diff/{after}/summary").json()
    assert (summary["queries"], summary["entered"], summary["unchanged"]) == (2, 2, 0)
    lines = tenant.http.get(
        f"/v1/runs/{before}/diff/{after}", headers={"Accept": "application/x-ndjson"}
    ).text.splitlines()
    assert [json.loads(line) for line in lines] == found["items"]


def test_diff_against_the_run_before(tenant: Tenant, corpus: str) -> None:
    before, after = two_runs(tenant)
    found = tenant.http.get(f"/v1/runs/{after}/diff").json()
    assert (found["before"], found["after"]) == (before, after)
    assert sorted(one["query"] for one in found["items"]) == ["a cup", "dogs"]
    assert tenant.http.get(f"/v1/runs/{after}/diff/summary").json()["top1_churn"] == 1.0
    first = tenant.http.get(f"/v1/runs/{before}/diff")
    assert problem(first) == (404, "no_previous_run")


def test_nobody_compares_or_exports_anothers(
    tenant: Tenant, corpus: str, new_tenant: NewTenant
) -> None:
    before, after = two_runs(tenant)
    other = new_tenant()
    for path, code in {
        f"/v1/runs/{before}/diff/{after}": "job_not_found",
        f"/v1/runs/{before}/diff/{after}/summary": "job_not_found",
        f"/v1/runs/{after}/diff": "run_not_found",
        f"/v1/runs/{after}/report": "run_not_found",
        f"/v1/runs/{after}/export": "job_not_found",
        f"/v1/jobs/{after}/export": "job_not_found",
    }.items():
        assert problem(other.http.get(path)) == (404, code), path
    running = submit(tenant, query={"text": "one"})["id"]
    assert problem(tenant.http.get(f"/v1/runs/{running}/diff/{after}")) == (409, "run_not_ended")
    assert problem(tenant.http.get(f"/v1/runs/{uuid4()}/diff"))[0] == 404


def test_exports_hold_the_same_rows(tenant: Tenant, corpus: str) -> None:
    _, run = two_runs(tenant)

    def export(form: str) -> Any:
        answer = tenant.http.get(f"/v1/runs/{run}/export", params={"format": form})
        answer.raise_for_status()
        return answer

    rows = [json.loads(line) for line in export("jsonl").text.splitlines()]
    assert [(r["query"], r["rank"], r["id"]) for r in rows] == [
        ("a cup", 1, "cup"),
        ("a cup", 2, "hat"),
        ("dogs", 1, "cup"),
        ("dogs", 2, "hat"),
    ]
    assert pq.read_table(io.BytesIO(export("parquet").content)).to_pylist() == rows
    table = list(csv.DictReader(io.StringIO(export("csv").text)))
    assert [{k: str(v) for k, v in r.items() if v is not None} for r in rows] == [
        {k: v for k, v in r.items() if v} for r in table
    ]
    trec = [line.split(" ") for line in export("trec").text.splitlines()]
    assert trec[0] == ["a%20cup", "Q0", "cup", "1", "-1", f"repick-{run}"]
    assert len(trec) == 4
    wrong = tenant.http.get(f"/v1/runs/{run}/export", params={"format": "xls"})
    assert wrong.status_code == 422


def test_report_is_a_page_that_loads_nothing(tenant: Tenant, corpus: str) -> None:
    _, run = two_runs(tenant)
    answer = tenant.http.get(f"/v1/runs/{run}/report")
    assert answer.headers["content-type"].startswith("text/html")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
    assert answer.headers["content-security-policy"] == policy  # the API's own shows no style
    assert "Documents that moved most" in answer.text


def test_webhooks_life(tenant: Tenant, new_tenant: NewTenant) -> None:
    body = {"url": "https://hooks.example.com/in", "events": ["job.cancelled", "job.cancelled"]}
    answer = tenant.http.post("/v1/webhooks", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    path = f"/v1/webhooks/{made['id']}"
    assert made["secret"].startswith("whsec_")
    assert made["events"] == ["job.cancelled"]
    shown = tenant.http.get(path).json()
    assert "secret" not in shown
    assert tenant.http.get("/v1/webhooks").json()["items"] == [shown]
    secret = tenant.http.post(f"{path}/rotate").json()["secret"]
    assert secret != made["secret"]
    assert tenant.http.post(f"{path}/test").status_code == 202
    page = tenant.http.get(f"{path}/deliveries", params={"limit": 1}).json()
    assert [(one["event"], one["state"]) for one in page["items"]] == [("webhook.test", "waiting")]
    other = new_tenant()
    for call in (
        other.http.get(path),
        other.http.delete(path),
        other.http.post(f"{path}/test"),
        other.http.post(f"{path}/rotate"),
        other.http.get(f"{path}/deliveries"),
    ):
        assert problem(call) == (404, "webhook_not_found")
    reader = new_tenant("read", "submit")
    assert problem(reader.http.get("/v1/webhooks")) == (403, "missing_scope")
    assert tenant.http.delete(path).status_code == 204
    assert problem(tenant.http.get(path)) == (404, "webhook_not_found")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "http://hooks.example.com/", "events": ["job.failed"]}, "https_only"),
        ({"url": "https://127.0.0.1/", "events": ["job.failed"]}, "address_blocked"),
        ({"url": "https://hooks.example.com/", "events": ["job.done"]}, "unknown_event"),
        ({"url": "https://hooks.example.com/", "events": []}, "invalid_field"),
        ({"url": "https://h.example.com/", "events": ["job.failed"], "x": 1}, "unknown_field"),
    ],
)
def test_webhooks_that_are_refused(tenant: Tenant, body: dict[str, Any], code: str) -> None:
    assert problem(tenant.http.post("/v1/webhooks", json=body)) == (422, code)


def test_wrong_alarms_are_refused(tenant: Tenant, corpus: str) -> None:
    for alarms in ({"max_chrun": 1}, {"max_churn": 2}, {"max_churn": "much"}, {"hold": 1}):
        answer = tenant.http.post("/v1/schedules", json=NIGHTLY | {"alarms": alarms})
        assert answer.status_code == 422, answer.text


def test_on_the_command_line(
    tenant: Tenant, corpus: str, base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPICK_API_URL", base_url)
    monkeypatch.setenv("REPICK_API_KEY", tenant.key)
    _, run = two_runs(tenant)
    runner = CliRunner()

    def call(*words: str) -> str:
        done = runner.invoke(app, list(words))
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    assert "hat → 2" in call("run", "diff", run)
    file = tmp_path / "run.csv"
    call("run", "export", run, "--format", "csv", "-o", str(file))
    assert file.read_text().count("\n") == 5
    call("run", "report", run, "-o", str(tmp_path / "run.html"))
    assert "Churn over the last" in (tmp_path / "run.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.csv", "run.html"]
    made = call("webhook", "create", "https://hooks.example.com/", "--event", "run.held")
    assert "whsec_" in made
    assert "hooks.example.com" in call("webhook", "list")
