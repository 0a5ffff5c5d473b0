"""A tenant with something of every kind, for tests that walk over all endpoints."""

from __future__ import annotations

from repick import nightly
from repick.jobs import PairScore
from repick.specs import fingerprint
from tests.integration.api.harness import SCORER, Tenant, finish, score
from tests.integration.api.test_api_documents import rank_documents

SECRET = "the word that only the owner knows"
MAP = {"method": "platt", "slope": 1, "intercept": 0}


def fill(tenant: Tenant) -> dict[str, str]:
    """Put something of every kind beside the items of the corpus `things`.

    The parameters of paths that lead to it.
    """
    tenant.http.put(
        "/v1/corpora/things/items",
        json={"items": [{"id": "cup", "text": SECRET, "metadata": {"a": SECRET}}]},
    ).raise_for_status()
    sent = [{"id": "cup", "text": SECRET}]
    body = {"query": {"text": "a cup"}, "documents": sent, "metadata": {"a": SECRET}}
    job = tenant.http.post("/v1/jobs", json=body).raise_for_status().json()["id"]
    score(tenant, job, SECRET, PairScore(1.0, 0.7, 0.9, 1.5, (None,), ((1.0, 0.8),)))
    rank_documents(tenant, job)
    of = fingerprint(SCORER)
    put = tenant.http.put(
        f"/v1/scorers/{of}/calibration", json={"map": MAP, "figures": {"a": SECRET}}
    )
    put.raise_for_status()
    names = {"corpus": "things", "item": "cup", "job_id": job, "query": "0", "fingerprint": of}
    return names | {"job": job, **_nightly(tenant)}


def _nightly(tenant: Tenant) -> dict[str, str]:
    """A standing query of the item's name, a schedule that ran twice, and a webhook."""
    queries = {"queries": [{"id": "cup", "text": SECRET}]}
    tenant.http.put("/v1/corpora/things/queries", json=queries).raise_for_status()
    schedule = {"name": "nightly", "corpus": "things", "cron": "30 2 * * *", "k": 2}
    tenant.http.post("/v1/schedules", json=schedule).raise_for_status()
    runs = []
    for _ in range(2):
        begun = tenant.http.post("/v1/schedules/nightly/runs", json={}).raise_for_status()
        runs.append(begun.json()["id"])
        finish(tenant, runs[-1])
        nightly.settle_ended(tenant.database)
    hook = {"url": "https://hooks.example.com/in", "events": ["job.succeeded"]}
    webhook = tenant.http.post("/v1/webhooks", json=hook).raise_for_status().json()["id"]
    return {
        "schedule": "nightly",
        "run": runs[1],
        "before": runs[0],
        "after": runs[1],
        "webhook": str(webhook),
    }
