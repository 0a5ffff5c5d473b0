"""Jobs: the promise, replays, polling, rankings in pages, cancelling, tenants kept apart."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID

import httpx
import pytest
import redis
from sqlalchemy import text

from api.job_reads import page_size
from repick.settings import Settings
from repick.store import idempotency
from tests import bad_images
from tests.integration.api.harness import (
    NewTenant,
    Tenant,
    base64_of,
    finish,
    problem,
    published,
    submit,
)

PHOTO = base64_of(bad_images.photo())


def test_a_job_is_accepted_with_its_address_and_published(
    tenant: Tenant, corpus: str, settings: Settings
) -> None:
    body = {"corpus": corpus, "query": {"text": "a cup"}, "k": 7, "metadata": {"run": [1, None]}}
    with redis.Redis.from_url(settings.broker_url) as broker:
        response = tenant.http.post("/v1/jobs", json=body)
        job = response.json()
        assert published(broker, "coarse.clip-tiny", job["id"]) == 1
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/jobs/{job['id']}" == job["href"]
    assert response.headers["retry-after"] == "1"
    assert response.headers["cache-control"] == "no-store"
    assert UUID(job["id"]).version == 7
    assert (job["state"], job["kind"], job["k"], job["top_n"]) == ("queued", "interactive", 7, 7)
    assert job["scorer"]["name"] == "qwen-tiny:choice"
    assert job["untrained"] is True
    assert job["metadata"] == {"run": [1, None]}
    assert tenant.http.get(job["href"]).json() == job


@pytest.mark.parametrize(
    "query",
    [{"text": "a"}, {"image": PHOTO}, {"text": "a", "image": PHOTO}],
    ids=["text", "image", "both"],
)
def test_a_query_is_a_text_an_image_or_both(
    query: dict[str, str], tenant: Tenant, corpus: str
) -> None:
    submit(tenant, query=query, instruction="find it")
    rows = tenant.rows()
    assert rows["job_query"] == 1
    assert rows["content"] == 3
    assert rows["media"] == len(tenant.media_files()) == ("image" in query)


def test_many_queries_make_a_batch_job_in_slices(tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, queries=[{"text": f"query {no}"} for no in range(130)])
    assert (job["kind"], job["queries"]) == ("batch", 130)
    assert tenant.rows()["slice"] == 3
    assert submit(tenant, queries=[{"text": "a"}] * 17, kind="interactive")["kind"] == "interactive"


def test_a_scorer_may_be_named_by_its_model(tenant: Tenant, corpus: str) -> None:
    assert submit(tenant, query={"text": "a"}, scorer="qwen-tiny")["scorer"]["name"].endswith(
        ":choice"
    )


def test_a_filter_is_kept_as_it_was_given(tenant: Tenant, corpus: str) -> None:
    wanted = {"field": "lang", "in": ["'; DROP TABLE item; --", "100%_"]}
    job = submit(tenant, query={"text": "a"}, filter=wanted)
    assert job["filter"] == wanted
    finish(tenant, job["id"])
    ranking = tenant.http.get(job["href"]).json()["rankings"][0]
    assert (ranking["search"], ranking["matching"]) == (None, None)


def test_options_are_kept_on_the_job(tenant: Tenant, corpus: str) -> None:
    options = {"blend": 0.25, "min_score": 0.5, "length_policy": "truncate"}
    job = submit(tenant, query={"text": "a"}, time_limit_s=3600, **options)
    assert {name: job[name] for name in options} == options
    assert job["scorer"]["name"] == "qwen-tiny:choice:truncate"
    limit = datetime.fromisoformat(job["deadline"]) - datetime.fromisoformat(job["created_at"])
    assert limit == timedelta(hours=1)
    plain = submit(tenant, query={"text": "a"}, scorer="qwen-tiny:choice:truncate")
    assert (plain["length_policy"], plain["blend"], plain["deadline"]) == ("truncate", 0.0, None)


def test_the_same_key_and_body_give_the_same_job(tenant: Tenant, corpus: str) -> None:
    body = {"corpus": corpus, "query": {"text": "a"}}
    key = {"Idempotency-Key": "one"}
    first = tenant.http.post("/v1/jobs", json=body, headers=key)
    reordered = dict(reversed(body.items()))
    again = tenant.http.post("/v1/jobs", json=reordered, headers=key)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert tenant.rows()["job"] == 1


def test_the_same_key_with_another_body_is_a_conflict(tenant: Tenant, corpus: str) -> None:
    key = {"Idempotency-Key": "one"}
    tenant.http.post("/v1/jobs", json={"corpus": corpus, "query": {"text": "a"}}, headers=key)
    before = tenant.rows()
    other = {"corpus": corpus, "query": {"text": "b"}}
    response = tenant.http.post("/v1/jobs", json=other, headers=key)
    assert problem(response) == (409, "idempotency_mismatch")
    assert tenant.rows() == before


def test_a_key_is_as_new_after_a_day(tenant: Tenant, corpus: str) -> None:
    key = {"Idempotency-Key": "aged"}
    body = {"corpus": corpus, "query": {"text": "a"}}
    first = tenant.http.post("/v1/jobs", json=body, headers=key).json()
    with tenant.database.begin() as connection:
        age = "UPDATE idempotency SET created_at = now() - interval '24 hours' WHERE key = 'aged'"
        connection.execute(text(age))
    other = {"corpus": corpus, "query": {"text": "b"}}
    second = tenant.http.post("/v1/jobs", json=other, headers=key)
    assert second.json()["id"] != first["id"]
    assert "idempotency-replayed" not in second.headers
    again = tenant.http.post("/v1/jobs", json=other, headers=key)
    assert again.json()["id"] == second.json()["id"]
    with tenant.database.begin() as connection:
        connection.execute(text(age))
        assert idempotency.forget(connection) == 1
    assert tenant.rows()["idempotency"] == 0


def test_two_tenants_may_use_the_same_key(new_tenant: NewTenant) -> None:
    ids = set()
    for tenant in (new_tenant(), new_tenant()):
        tenant.http.post("/v1/corpora", json={"name": "things"}).raise_for_status()
        body = {"corpus": "things", "query": {"text": "a"}}
        response = tenant.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
        ids.add(response.json()["id"])
    assert len(ids) == 2


def test_fifty_requests_with_one_key_make_one_job(tenant: Tenant, corpus: str) -> None:
    body = {"corpus": corpus, "query": {"text": "a", "image": PHOTO}}

    def send(_: int) -> httpx.Response:
        return tenant.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "race"})

    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(send, range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    rows = tenant.rows()
    assert (rows["job"], rows["job_query"], rows["slice"], rows["idempotency"]) == (1, 1, 1, 1)


def test_a_finished_job_shows_its_rankings(tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, query={"text": "a"}, k=5)
    running = tenant.http.get(job["href"])
    assert running.headers["retry-after"] == "1"
    finish(tenant, job["id"])
    response = tenant.http.get(job["href"])
    assert "retry-after" not in response.headers
    done = response.json()
    assert (done["state"], done["final"], done["next"]) == ("succeeded", True, None)
    (ranking,) = done["rankings"]
    assert (ranking["query"], ranking["asked"], ranking["found"]) == (0, 5, 2)
    assert ranking["untrained"] is True
    assert ranking["hits"][0] == {
        "rank": 1,
        "id": "dog",
        "score": 0.5,
        "margin": 0.2,
        "probability": None,
        "label_mass": 0.9,
        "entropy": 1.5,
        "enhanced_at": None,
        "coarse_rank": 2,
        "coarse_score": 0.5,
        "cut_tokens": 0,
    }


def test_rankings_of_many_queries_come_in_pages(tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, queries=[{"text": str(no)} for no in range(150)])
    finish(tenant, job["id"], hits=("cup",))
    first = tenant.http.get(job["href"]).json()
    size = len(first["rankings"])
    assert size == page_size(job["top_n"]) < 100
    shown, link = first["rankings"], first["next"]
    while link:
        page = tenant.http.get(link).json()
        assert len(page["items"]) <= size
        shown, link = [*shown, *page["items"]], page["next"]
    assert [one["query"] for one in shown] == list(range(150))
    other = submit(tenant, query={"text": "a"})
    stolen = first["next"].replace(job["id"], other["id"])
    assert problem(tenant.http.get(stolen)) == (400, "bad_cursor")


def test_waiting_answers_as_soon_as_the_job_is_final(tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, query={"text": "a"})
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        answer = pool.submit(tenant.http.get, job["href"], headers={"Prefer": "wait=20"})
        finish(tenant, job["id"])
        response = answer.result()
    assert time.monotonic() - started < 10
    assert response.json()["state"] == "succeeded"
    assert response.headers["preference-applied"] == "wait=20"


def test_submitting_with_wait_answers_200_when_final_and_202_otherwise(
    tenant: Tenant, corpus: str
) -> None:
    body = {"corpus": corpus, "query": {"text": "a"}}
    headers = {"Prefer": "respond-async, wait=1", "Idempotency-Key": "waited"}
    started = time.monotonic()
    running = tenant.http.post("/v1/jobs", json=body, headers=headers)
    assert 0.9 < time.monotonic() - started < 10
    assert (running.status_code, running.json()["state"]) == (202, "queued")
    finish(tenant, running.json()["id"])
    done = tenant.http.post("/v1/jobs", json=body, headers=headers)
    assert (done.status_code, done.json()["state"]) == (200, "succeeded")


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "waiting", "wait="])
def test_a_preference_that_is_none_is_ignored(prefer: str, tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, query={"text": "a"})
    response = tenant.http.get(job["href"], headers={"Prefer": prefer})
    assert response.status_code == 200
    assert "preference-applied" not in response.headers


def test_cancelling_ends_a_job_once(tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, query={"text": "a"})
    cancelled = tenant.http.post(job["href"] + "/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert problem(tenant.http.post(job["href"] + "/cancel")) == (409, "job_final")


def test_a_list_of_jobs_goes_on_where_it_ended(tenant: Tenant, corpus: str) -> None:
    made = [submit(tenant, query={"text": str(no)})["id"] for no in range(5)]
    finish(tenant, made[2])
    seen: list[str] = []
    link = "/v1/jobs?limit=2"
    while link:
        page = tenant.http.get(link).json()
        assert len(page["items"]) <= 2
        assert "rankings" not in page["items"][0]
        seen += [one["id"] for one in page["items"]]
        link = page["next"]
    assert seen == made[::-1]
    done = tenant.http.get("/v1/jobs?state=succeeded").json()["items"]
    assert [one["id"] for one in done] == [made[2]]


def test_a_tampered_cursor_is_refused(tenant: Tenant, corpus: str) -> None:
    for no in range(2):
        submit(tenant, query={"text": str(no)})
    link = tenant.http.get("/v1/jobs?limit=1").json()["next"]
    assert tenant.http.get(link).status_code == 200
    last = "b" if link.endswith("a") else "a"
    start = link.index("cursor=") + len("cursor=")
    tampered = link[: start + 4] + last + link[start + 5 :]
    assert problem(tenant.http.get(tampered)) == (400, "bad_cursor")


def test_a_job_outlives_its_corpus(tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, query={"text": "a"})
    finish(tenant, job["id"])
    before = tenant.http.get(job["href"]).json()
    assert tenant.http.delete(f"/v1/corpora/{corpus}").status_code == 204
    assert tenant.http.get(job["href"]).json() == before


def test_nobody_sees_or_cancels_another_tenants_job(
    new_tenant: NewTenant, tenant: Tenant, corpus: str
) -> None:
    job = submit(tenant, query={"text": "a"})
    finish(tenant, job["id"])
    stranger = new_tenant()
    for method, path in (
        ("GET", job["href"]),
        ("GET", job["href"] + "/rankings"),
        ("POST", job["href"] + "/cancel"),
    ):
        assert problem(stranger.http.request(method, path)) == (404, "job_not_found")
    assert stranger.http.get("/v1/jobs").json()["items"] == []
