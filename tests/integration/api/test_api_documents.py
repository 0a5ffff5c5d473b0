"""Documents sent along with a job: accepted, kept, published to the fine stage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import redis
from sqlalchemy import text
from typer.testing import CliRunner

from repick.cli.app import app
from repick.jobs import PairScore, Stage
from repick.settings import Settings
from repick.store import rankings, slices, stages
from tests import bad_images
from tests.integration.api.harness import NewTenant, Tenant, base64_of, problem, published, score

PHOTO = base64_of(bad_images.photo())
DOCUMENTS = [
    {"id": "https://example.com//a", "text": "a red cup", "score": 0.5},
    {"id": "photo", "image": PHOTO},
    {"id": "both", "text": "a dog", "image": PHOTO},
]


def send(tenant: Tenant, **body: Any) -> dict[str, Any]:
    response = tenant.http.post("/v1/jobs", json={"query": {"text": "a cup"}} | body)
    assert response.status_code == 202, response.text
    value: dict[str, Any] = response.json()
    return value


def candidates(tenant: Tenant) -> list[tuple[Any, ...]]:
    with tenant.database.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT query_no, coarse_rank, external_id, coarse_score, error_code FROM candidate"
                " WHERE tenant_id = :tenant ORDER BY query_no, coarse_rank"
            ),
            {"tenant": tenant.id},
        )
        return [tuple(row) for row in rows]


def test_documents_are_accepted_and_published_to_the_fine_stage(
    tenant: Tenant, settings: Settings
) -> None:
    with redis.Redis.from_url(settings.broker_url) as broker:
        job = send(tenant, documents=DOCUMENTS, top_n=10)
        assert published(broker, "fine.qwen-tiny", job["id"]) == 1
    assert (job["state"], job["corpus"], job["encoder"]) == ("queued", None, None)
    assert (job["k"], job["top_n"], job["progress"]["pairs_total"]) == (3, 3, 3)
    assert candidates(tenant) == [
        (0, 1, "https://example.com//a", 0.5, None),
        (0, 2, "photo", None, None),
        (0, 3, "both", None, None),
    ]
    assert len(tenant.media_files()) == 1
    assert tenant.rows()["item"] == 0


def test_every_query_has_every_document(tenant: Tenant) -> None:
    job = send(tenant, query=None, queries=[{"text": "a"}, {"image": PHOTO}], documents=DOCUMENTS)
    assert job["progress"]["pairs_total"] == 6
    assert len(candidates(tenant)) == 6


def test_a_bad_image_or_text_fails_alone(tenant: Tenant) -> None:
    bad = {one.name: one for one in bad_images.REFUSED if one.name != "no bytes"}
    sent = [
        {"id": name, "image": f"data:{one.declared_type or ''};base64,{base64_of(one.build())}"}
        for name, one in bad.items()
    ]
    sent += [{"id": "blank", "text": " "}, {"id": "long", "text": "a" * 10_001}]
    sent += [{"id": "good", "text": "fine"}]
    job = send(tenant, documents=sent)
    codes = {row[2]: row[4] for row in candidates(tenant)}
    assert codes == {name: one.code for name, one in bad.items()} | {
        "blank": "blank",
        "long": "too_long",
        "good": None,
    }
    assert job["progress"]["pairs_total"] == 1
    assert tenant.media_files() == []


def test_a_score_can_be_audited(tenant: Tenant, new_tenant: NewTenant) -> None:
    sent = [{"id": "https://example.com/a b", "text": "a red cup"}]
    job = send(tenant, documents=sent)
    pair = PairScore(1.5, 0.8, 0.9, 0.3, (None,), ((2.0, 0.5),))
    score(tenant, job["id"], "a red cup", pair)
    rank_documents(tenant, job["id"])
    hit = tenant.http.get(job["href"]).json()["rankings"][0]["hits"][0]
    path = f"{job['href']}/rankings/0/https://example.com/a%20b"
    found = tenant.http.get(path).json()
    assert found["hit"] == hit
    assert found["query_content"] == {"text": "a cup", "image_sha256": None, "instruction": None}
    (one,) = found["passes"]
    assert one["prompt"].startswith("Candidate: a red cup\nQuery: a cup\nWhich is true?")
    assert (one["label_logits"], one["enhanced_at"]) == ({"A": 2.0, "B": 0.5}, None)
    assert found["scorer"]["fingerprint"] == job["scorer"]["fingerprint"]
    assert found["scorer"]["specification"]["readout"] == "choice"
    assert found["provenance"] == {"device": "test"}
    options = ["--url", str(tenant.http.base_url), "--key", tenant.key]
    told = CliRunner().invoke(app, ["job", "explain", job["id"], sent[0]["id"], *options])
    assert told.exit_code == 0, told.output
    for words in ("A +2.000  B +0.500", "Candidate: a red cup", "device test"):
        assert words in told.stdout
    for other in (f"{job['href']}/rankings/0/b", f"{job['href']}/rankings/1/a"):
        assert problem(tenant.http.get(other)) == (404, "hit_not_found")
    assert problem(tenant.http.get(f"{job['href']}/rankings/-1/a")) == (422, "invalid_field")
    assert problem(tenant.http.get(f"{job['href']}/rankings/{2**40}/a")) == (422, "invalid_field")
    assert problem(tenant.http.get(f"{job['href']}/rankings/0/a%00")) == (404, "hit_not_found")
    assert problem(new_tenant().http.get(path)) == (404, "job_not_found")


def test_an_audited_text_does_nothing_to_the_terminal(tenant: Tenant) -> None:
    hostile = "a cup\x1b]0;another title\x9b31m"
    job = send(tenant, documents=[{"id": "a", "text": hostile}])
    score(tenant, job["id"], hostile, PairScore(1.5, 0.8, 0.9, 0.3, (None,), ((2.0, 0.5),)))
    rank_documents(tenant, job["id"])
    options = ["--url", str(tenant.http.base_url), "--key", tenant.key]
    told = CliRunner().invoke(app, ["job", "explain", job["id"], "a", *options])
    assert "a cup\\x1b]0;another title\\x9b31m" in told.stdout
    assert not {"\x1b", "\x9b"} & set(told.stdout)


def rank_documents(tenant: Tenant, job_id: str) -> None:
    """What workers do once every pair is in the ledger."""
    lease = timedelta(seconds=30)
    with tenant.database.begin() as connection:
        job = UUID(job_id)
        held = slices.claim(connection, job, Stage.SCORE, "test", lease)
        assert held is not None
        stages.close(connection, held, 8)
        held = slices.claim(connection, job, Stage.RANK, "test", lease)
        assert held is not None
        rankings.rank(connection, held, [0], rankings.ask(connection, job))
        stages.close(connection, held, 8)


def test_the_same_key_with_other_documents_is_a_conflict(tenant: Tenant) -> None:
    body = {"query": {"text": "a"}, "documents": DOCUMENTS}
    headers = {"Idempotency-Key": "one"}
    first = tenant.http.post("/v1/jobs", json=body, headers=headers).json()
    again = tenant.http.post("/v1/jobs", json=body, headers=headers)
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (first["id"], "true")
    other = body | {"documents": DOCUMENTS[:2]}
    assert tenant.http.post("/v1/jobs", json=other, headers=headers).status_code == 409
