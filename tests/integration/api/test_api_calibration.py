"""Calibrations over HTTP: who may put one, what is refused, and which hits show a probability."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from repick.cli.app import app
from repick.client import ApiError, Client
from repick.errors import RepickError
from repick.jobs import PairScore
from repick.specs import fingerprint
from repick.store.database import Database
from tests.integration.api.harness import SCORER, SCORERS, NewTenant, Tenant, finish, problem, score
from tests.integration.api.harness import submit as submitted
from tests.unit.test_calibration import BAD_MAPS, labels

EXACTLY = fingerprint(SCORER)
PAPER, TRUNCATE, _ = (fingerprint(one) for one in SCORERS)
MAP = {"method": "isotonic", "x": [0.1, 0.2], "y": [0.25, 0.75]}
"""`finish` gives the hits margins of 0.2 and 0.1."""


def put(tenant: Tenant, value: Any, of: str = EXACTLY) -> Any:
    answer = tenant.http.put(f"/v1/scorers/{of}/calibration", json={"map": value})
    assert answer.status_code == 200, answer.text
    return answer.json()


def probabilities(tenant: Tenant, job: str) -> list[float | None]:
    shown = tenant.http.get(f"/v1/jobs/{job}").json()
    return [hit["probability"] for hit in shown["rankings"][0]["hits"]]


def done(tenant: Tenant, **body: Any) -> str:
    job = str(submitted(tenant, query={"text": "a"}, k=2, **body)["id"])
    finish(tenant, job)
    return job


def test_hits_show_the_probability_of_the_last_calibration(tenant: Tenant, corpus: str) -> None:
    job = done(tenant)
    assert probabilities(tenant, job) == [None, None]
    assert put(tenant, MAP)["map"] == MAP
    assert probabilities(tenant, job) == [0.75, 0.25]
    put(tenant, {"method": "platt", "slope": 0, "intercept": 0})
    assert probabilities(tenant, job) == [0.5, 0.5]
    with tenant.database.begin() as connection:
        kept = text("SELECT method FROM calibration WHERE tenant_id = :tenant ORDER BY id")
        found = connection.execute(kept, {"tenant": tenant.id}).scalars().all()
    assert found == ["isotonic", "platt"]


def test_pages_streams_and_audits_show_it_too(tenant: Tenant, corpus: str) -> None:
    job = done(tenant)
    put(tenant, MAP)
    path = f"/v1/jobs/{job}/rankings"
    (page,) = tenant.http.get(path).json()["items"]
    streamed = tenant.http.get(path, headers={"Accept": "application/x-ndjson"})
    for ranking in (page, json.loads(streamed.text)):
        assert [hit["probability"] for hit in ranking["hits"]] == [0.75, 0.25]
    with Client(str(tenant.http.base_url), tenant.key) as client:
        assert [hit.probability for hit in client.job(job).rankings[0].hits] == [0.75, 0.25]


def test_an_audit_shows_the_probability_of_its_hit(tenant: Tenant, corpus: str) -> None:
    job = done(tenant)
    put(tenant, MAP)
    with tenant.database.begin() as connection:
        content = connection.execute(
            text("SELECT id FROM content WHERE tenant_id = :t AND text = 'a dog'"), {"t": tenant.id}
        ).scalar_one()
        connection.execute(text("ALTER TABLE ranking DISABLE TRIGGER ranking_is_immutable"))
        connection.execute(
            text("UPDATE ranking SET content_ids[1] = :content WHERE job_id = :job"),
            {"content": content, "job": job},
        )
        connection.execute(text("ALTER TABLE ranking ENABLE TRIGGER ranking_is_immutable"))
    score(tenant, job, "a dog", PairScore(0.2, 0.5, 0.9, 1.5, (None,), ((1.0, 0.8),), 0))
    shown = tenant.http.get(f"/v1/jobs/{job}/rankings/0/dog")
    assert shown.status_code == 200, shown.text
    assert shown.json()["hit"]["probability"] == 0.75


def test_another_tenants_and_another_scorers_hits_are_unaffected(
    tenant: Tenant, corpus: str, new_tenant: NewTenant
) -> None:
    job, other = done(tenant), done(tenant, length_policy="truncate")
    stranger = new_tenant()
    put(stranger, {"method": "platt", "slope": 1, "intercept": 0})
    assert probabilities(tenant, job) == [None, None]
    path = f"/v1/scorers/{EXACTLY}/calibration"
    assert problem(tenant.http.get(path)) == (404, "calibration_not_found")
    put(tenant, MAP, TRUNCATE)
    assert probabilities(tenant, job) == [None, None]
    assert probabilities(tenant, other) == [0.75, 0.25]


@pytest.mark.parametrize(
    ("value", "field", "code"), [one for one in BAD_MAPS if one[2] != "invalid_number"]
)
def test_a_bad_map_is_refused(tenant: Tenant, value: Any, field: str, code: str) -> None:
    path = f"/v1/scorers/{EXACTLY}/calibration"
    answer = tenant.http.put(path, json={"map": value})
    assert problem(answer) == (422, code)
    assert answer.json()["field"] == field
    assert problem(tenant.http.get(path)) == (404, "calibration_not_found")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "true", "null"])
def test_what_is_no_finite_number_is_refused(tenant: Tenant, number: str) -> None:
    body = f'{{"map": {{"method": "platt", "slope": {number}, "intercept": 0}}}}'
    headers = {"Content-Type": "application/json"}
    path = f"/v1/scorers/{EXACTLY}/calibration"
    answer = tenant.http.put(path, content=body, headers=headers)
    assert problem(answer) == (422, "invalid_number")


def test_figures_are_given_back_and_at_most_64_kib(tenant: Tenant) -> None:
    with Client(str(tenant.http.base_url), tenant.key) as client:
        made = client.put_calibration(EXACTLY, MAP, {"ece": 0.02})
        assert client.calibration(EXACTLY) == made
        assert (made.scorer.name, made.figures) == (SCORER.name, {"ece": 0.02})
        with pytest.raises(ApiError) as caught:
            client.put_calibration(EXACTLY, MAP, {"x": "y" * 70_000})
    assert caught.value.field == "figures"


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ("0" * 64, (404, "scorer_not_found")),
        ("qwen-tiny:choice", (422, "invalid_field")),
        (PAPER, (422, "no_margin")),
    ],
)
def test_only_a_known_scorer_with_a_margin_has_one(
    tenant: Tenant, of: str, expected: tuple[int, str]
) -> None:
    answer = tenant.http.put(f"/v1/scorers/{of}/calibration", json={"map": MAP})
    assert problem(answer) == expected


def test_putting_needs_the_scope_admin(new_tenant: NewTenant) -> None:
    tenant = new_tenant("read", "submit", "ingest")
    answer = tenant.http.put(f"/v1/scorers/{EXACTLY}/calibration", json={"map": MAP})
    assert problem(answer) == (403, "missing_scope")


def test_a_stored_calibration_cannot_be_changed(tenant: Tenant, database: Database) -> None:
    put(tenant, MAP)
    with pytest.raises(Exception, match="immutable"), database.begin() as connection:
        connection.execute(text("UPDATE calibration SET map = '{}'"))


def run(tenant: Tenant, *arguments: str) -> str:
    environment = {"REPICK_API_URL": str(tenant.http.base_url), "REPICK_API_KEY": tenant.key}
    result = CliRunner().invoke(app, ["calibrate", *arguments], env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_stores_what_it_measured(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    lines = [
        {"query": one.query, "margin": one.margin, "relevant": one.relevant} for one in labels(60)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    said = json.loads(run(tenant, str(file), "--scorer", SCORER.name, "--store", "--json"))
    with Client(str(tenant.http.base_url), tenant.key) as client:
        stored = client.calibration(EXACTLY)
    assert stored.map == said["map"]
    assert stored.figures["after"] == said["after"]


def test_the_command_reads_jobs_and_qrels(tenant: Tenant, corpus: str, tmp_path: Path) -> None:
    job = str(submitted(tenant, queries=[{"text": str(no)} for no in range(4)], k=2)["id"])
    finish(tenant, job)
    file = tmp_path / "test.tsv"
    rows = "".join(f"{no}\tdog\t1\n" for no in range(4))
    file.write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    said = json.loads(run(tenant, "--job", job, "--qrels", str(file), "--store", "--json"))
    assert (said["fitted_pairs"], said["measured_pairs"]) == (4, 4)
    assert probabilities(tenant, job) == [1.0, 0.0]


def test_the_command_refuses_an_unknown_scorer(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    lines = [
        {"query": one.query, "margin": one.margin, "relevant": one.relevant} for one in labels(60)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    environment = {"REPICK_API_URL": str(tenant.http.base_url), "REPICK_API_KEY": tenant.key}
    arguments = ["calibrate", str(file), "--scorer", "none:choice", "--store"]
    result = CliRunner().invoke(app, arguments, env=environment)
    assert isinstance(result.exception, RepickError)
    assert result.exception.code == "scorer_not_found"
