"""Too much waits, or a key asks too fast: 429 with Retry-After; what was accepted is read."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
from sqlalchemy import text

from api.backpressure import REFRESH_S
from repick.processes import free_port
from repick.settings import Settings
from repick.store import figures
from tests.integration.api.harness import NewTenant, Tenant, problem, serving

BODY = {"corpus": "things", "query": {"text": "a"}, "k": 20}


def test_a_full_queue_is_429_until_there_is_room(
    settings: Settings, tenant: Tenant, corpus: str
) -> None:
    changes = {"api_port": free_port(), "max_queued_pairs_of_tenant": 100}
    with (
        serving(settings.model_copy(update=changes)) as url,
        httpx.Client(base_url=url, headers=tenant.http.headers, timeout=30) as http,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda _: http.post("/v1/jobs", json=BODY), range(12)))
        accepted = [one for one in answers if one.status_code == 202]
        refused = [one for one in answers if one.status_code != 202]
        assert len(accepted) == 5
        assert {problem(one) for one in refused} == {(429, "queue_full")}
        assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
        assert tenant.rows()["job"] == 5
        href = accepted[0].json()["href"]
        assert http.get(href).status_code == 200
        assert http.post(f"{href}/cancel").status_code == 200
        time.sleep(REFRESH_S)
        assert http.post("/v1/jobs", json=BODY).status_code == 202
        assert problem(http.post("/v1/jobs", json=BODY)) == (429, "queue_full")


def test_a_replay_is_answered_however_much_waits(
    settings: Settings, tenant: Tenant, corpus: str
) -> None:
    changes = {"api_port": free_port(), "max_queued_pairs_of_tenant": 20}
    with (
        serving(settings.model_copy(update=changes)) as url,
        httpx.Client(base_url=url, headers=tenant.http.headers, timeout=30) as http,
    ):
        key = {"Idempotency-Key": "a-key"}
        first = http.post("/v1/jobs", json=BODY, headers=key)
        assert problem(http.post("/v1/jobs", json=BODY)) == (429, "queue_full")
        again = http.post("/v1/jobs", json=BODY, headers=key)
    assert again.status_code == first.status_code == 202
    assert again.json()["id"] == first.json()["id"]


def test_a_key_that_asks_too_fast_is_429_and_others_are_not(
    settings: Settings, new_tenant: NewTenant
) -> None:
    hasty, other = new_tenant(), new_tenant()
    changes = {"api_port": free_port(), "requests_per_s": 0.01}
    with serving(settings.model_copy(update=changes)) as url:
        jobs = f"{url}/v1/jobs"
        answers = [httpx.get(jobs, headers=hasty.http.headers) for _ in range(2)]
        assert answers[0].status_code == 200
        assert problem(answers[1]) == (429, "rate_limited")
        assert 1 < int(answers[1].headers["retry-after"]) <= 100
        assert httpx.get(jobs, headers=other.http.headers).status_code == 200


def test_the_backlog_counts_unfinished_jobs_from_an_index_alone(
    tenant: Tenant, corpus: str
) -> None:
    for _ in range(3):
        tenant.http.post("/v1/jobs", json=BODY).raise_for_status()
    job = tenant.http.post("/v1/jobs", json=BODY).json()
    tenant.http.post(f"{job['href']}/cancel").raise_for_status()
    with tenant.database.begin() as connection:
        assert figures.backlog(connection)[tenant.id] == 60
        # Of so few rows a plan by chance; what it may be is asked.
        connection.execute(
            text("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        )
        plan = connection.execute(text(f"EXPLAIN {figures._BACKLOG}")).scalars().all()
    scans = [line for line in plan if "Scan" in line]
    assert scans
    assert all("Index Only Scan" in line for line in scans), plan
