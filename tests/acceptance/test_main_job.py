"""The main job over HTTP with every real part: submit, retrieve, score, rank, poll, Flower."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from demo.drawn import scene_items
from tests.acceptance.stack import Stack, Tenant, until

pytestmark = pytest.mark.acceptance


def as_json(image: bytes) -> str:
    return base64.b64encode(image).decode()


def items(count: int) -> list[dict[str, Any]]:
    """Of every three scenes one as a picture, one as a text and one as both."""
    found = []
    for no, one in enumerate(scene_items()[:count]):
        item: dict[str, Any] = {"id": one.id, "metadata": dict(one.metadata)}
        if no % 3:
            item["text"] = one.metadata["shows"]
        if no % 3 != 1 and one.image:
            item["image"] = as_json(one.image)
        found.append(item)
    return found


def hits(view: dict[str, Any], query: int = 0) -> list[str]:
    return [hit["id"] for hit in view["rankings"][query]["hits"]]


def margins(view: dict[str, Any]) -> dict[tuple[int, str], float]:
    return {
        (ranking["query"], hit["id"]): hit["margin"]
        for ranking in view["rankings"]
        for hit in ranking["hits"]
    }


@pytest.fixture(autouse=True)
def open_gate(stack: Stack) -> Iterator[None]:
    yield
    stack.hold_after(None)


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    tenant = stack.client("first")
    tenant.load("demo", items(40))
    return tenant


@pytest.fixture(scope="module")
def calm(stack: Stack) -> Tenant:
    """Another tenant of the same items, whom nothing happens to; no score is shared with it."""
    tenant = stack.client("calm")
    tenant.load("demo", items(40))
    return tenant


def test_queries_of_every_kind_are_ranked(tenant: Tenant) -> None:
    picture = next(one.image for one in scene_items() if one.image)
    job = tenant.submit(
        corpus="demo",
        queries=[
            {"text": "a red circle left of a blue square"},
            {"image": as_json(picture)},
            {"image": as_json(picture), "text": "but with a green star"},
        ],
        k=12,
        top_n=6,
        metadata={"who": "acceptance"},
    )
    view = tenant.finished(job)
    assert view["state"] == "succeeded", view
    assert view["untrained"] is True
    assert view["metadata"] == {"who": "acceptance"}
    assert view["progress"]["pairs_done"] == view["progress"]["pairs_total"] == 36
    assert [len(ranking["hits"]) for ranking in view["rankings"]] == [6, 6, 6]
    for ranking in view["rankings"]:
        ordered = [hit["margin"] for hit in ranking["hits"]]
        assert ordered == sorted(ordered, reverse=True)
        assert all(0 < hit["label_mass"] <= 1 for hit in ranking["hits"])


def test_second_job_over_the_same_pairs_scores_nothing(tenant: Tenant) -> None:
    ask = {"corpus": "demo", "query": {"text": "something to ask twice"}, "k": 10}
    first = tenant.finished(tenant.submit(**ask))
    second = tenant.finished(tenant.submit(**ask))
    assert first["progress"]["pairs_reused"] == 0
    assert second["progress"]["pairs_reused"] == second["progress"]["pairs_total"] == 10
    assert second["rankings"][0]["hits"] == first["rankings"][0]["hits"]


def test_waiting_client_gets_the_finished_job_in_one_answer(tenant: Tenant) -> None:
    answer = tenant.http.post(
        "/v1/jobs",
        json={"corpus": "demo", "query": {"text": "wait for me"}, "k": 5},
        headers={"Prefer": "wait=30"},
    )
    assert answer.status_code == 200
    assert answer.json()["state"] == "succeeded"
    assert len(answer.json()["rankings"][0]["hits"]) == 5


def test_readouts_of_one_model_share_a_worker(tenant: Tenant) -> None:
    scorer = "qwen2.5-vl-tiny-untrained:yes_no:plain"
    job = tenant.submit(corpus="demo", query={"text": "yes or no"}, k=5, scorer=scorer)
    view = tenant.finished(job)
    assert view["state"] == "succeeded"
    assert view["scorer"]["name"] == scorer
    assert all(hit["enhanced_at"] is None for hit in view["rankings"][0]["hits"])


def test_flower_shows_the_finished_task_by_name_and_job_id(stack: Stack, tenant: Tenant) -> None:
    job = tenant.submit(corpus="demo", query={"text": "look at me in Flower"}, k=5)
    tenant.finished(job)
    auth = ("repick", "petals")

    def names() -> set[str]:
        answer = httpx.get(f"{stack.flower_url}/api/tasks", auth=auth, trust_env=False)
        assert answer.status_code == 200
        tasks = answer.json().values()
        return {t["name"] for t in tasks if job in t["args"] and t["state"] == "SUCCESS"}

    wanted = {"repick.retrieve", "repick.score", "repick.rank"}
    until(lambda: wanted <= names(), 60, "Flower's view of the tasks")
    address = f"{stack.flower_url}/api/workers?refresh=true"
    workers = httpx.get(address, auth=auth, trust_env=False, timeout=20).json()
    kinds = {name.partition("-")[0] for name in workers}
    assert {"coarse", "fine"} <= kinds
    queues = {queue["name"] for one in workers.values() for queue in one["active_queues"]}
    coarse, fine = "coarse.clip-tiny-untrained", "fine.qwen2.5-vl-tiny-untrained"
    assert queues == {"rank", "rank.bulk", coarse, f"{coarse}.bulk", fine, f"{fine}.bulk"}
    assert httpx.get(f"{stack.flower_url}/api/tasks", trust_env=False).status_code == 401
    for action in (f"worker/shutdown/{next(iter(workers))}", "task/send-task/repick.score"):
        address = f"{stack.flower_url}/api/{action}"
        answer = httpx.post(address, auth=auth, trust_env=False, json={"args": [job]})
        assert answer.status_code == 403, action


def test_cancelled_job_stops_within_a_batch(stack: Stack, tenant: Tenant) -> None:
    stack.hold_after(8)
    job = tenant.submit(
        corpus="demo", queries=[{"text": f"to be cancelled {n}"} for n in range(10)], k=40
    )
    tenant.scoring(job, pairs=8)
    assert tenant.http.post(f"/v1/jobs/{job}/cancel").status_code == 200
    view = tenant.job(job)
    assert view["state"] == "cancelled"
    stack.hold_after(None)
    again = tenant.finished(tenant.submit(corpus="demo", query={"text": "after it"}, k=5))
    assert again["state"] == "succeeded"
    later = tenant.job(job)
    assert later["progress"] == view["progress"]
    assert later["rankings"] == []
    assert tenant.http.post(f"/v1/jobs/{job}/cancel").status_code == 409


def test_rankings_are_the_same_whatever_was_killed(
    stack: Stack, tenant: Tenant, calm: Tenant
) -> None:
    """Workers are killed (-9) at several points of a job and the broker is wiped under it."""
    ask: dict[str, Any] = {
        "corpus": "demo",
        "queries": [{"text": f"kill the worker {n}"} for n in range(6)],
        "k": 40,
    }
    expected = calm.finished(calm.submit(**ask))
    assert expected["progress"]["pairs_done"] == 240

    stack.kill("coarse")  # before it can retrieve
    stack.hold_after(1)
    job = tenant.submit(**ask)
    stack.start("coarse")
    for pairs in (1, 60, 140):
        tenant.scoring(job, pairs, within_s=240)
        stack.kill("fine-1")
        assert tenant.job(job)["state"] == "scoring"  # it was killed under way, not after
        with redis.Redis.from_url(stack.environment["REPICK_BROKER_URL"]) as broker:
            broker.flushall()
        stack.hold_after({1: 60, 60: 80}.get(pairs))
        stack.start("fine-1")
    view = tenant.finished(job, within_s=240)
    stack.kill("coarse")
    stack.start("coarse")
    assert view["state"] == "succeeded"
    assert view["progress"]["pairs_done"] == view["progress"]["pairs_total"] == 240
    ours, theirs = margins(view), margins(expected)
    assert ours.keys() == theirs.keys()
    assert max(abs(ours[pair] - theirs[pair]) for pair in ours) <= 1e-4


def nightly_run(tenant: Tenant) -> str:
    """Begin a run of six standing queries by the sweep's way, as a schedule run now."""
    queries = [{"id": f"q{n}", "text": f"every night {n}"} for n in range(6)]
    put = tenant.http.put("/v1/corpora/demo/queries", json={"queries": queries})
    assert put.status_code == 200, put.text
    schedule = {"name": "nightly", "corpus": "demo", "cron": "0 2 * * *", "k": 20}
    assert tenant.http.post("/v1/schedules", json=schedule).status_code == 201
    begun = tenant.http.post("/v1/schedules/nightly/runs", json={})
    assert begun.status_code == 202, begun.text
    return str(begun.json()["id"])


def latest(tenant: Tenant, run: str) -> dict[str, Any]:
    """The schedule's latest, once it is this run."""

    def ask() -> dict[str, Any] | None:
        view: dict[str, Any] = tenant.http.get("/v1/schedules/nightly/latest").json()
        return view if view.get("run", {}).get("id") == run else None

    return until(ask, 240, "the run to be the latest")


def test_nightly_run_is_the_same_whatever_was_killed(
    stack: Stack, tenant: Tenant, calm: Tenant
) -> None:
    """At 10, 50 and 90 % of it; the undisturbed run is another tenant's."""
    expected = latest(calm, nightly_run(calm))
    stack.hold_after(12)
    run = nightly_run(tenant)
    for pairs in (12, 60, 108):
        tenant.scoring(run, pairs, within_s=240)
        stack.kill("fine-1")
        assert tenant.job(run)["state"] == "scoring"
        assert tenant.http.get("/v1/schedules/nightly/latest").status_code == 404
        stack.hold_after(48 if pairs < 108 else None)
        stack.start("fine-1")
    found = latest(tenant, run)
    assert found["run"]["figures"]["pairs_total"] == 120
    assert [one["standing_query"] for one in found["rankings"]] == [f"q{n}" for n in range(6)]
    ours, theirs = margins(found), margins(expected)
    assert ours.keys() == theirs.keys()
    assert max(abs(ours[pair] - theirs[pair]) for pair in ours) <= 1e-4


def test_worker_told_to_stop_loses_no_batch(stack: Stack, tenant: Tenant) -> None:
    stack.hold_after(4)
    job = tenant.submit(
        corpus="demo", queries=[{"text": f"soft shutdown {n}"} for n in range(4)], k=40
    )
    tenant.scoring(job, pairs=4)
    assert tenant.job(job)["state"] == "scoring"
    process = stack.processes["fine-1"]
    process.terminate()
    stack.hold_after(None)  # with a batch in hand
    assert process.wait(60) == 0
    stack.start("fine-1")
    view = tenant.finished(job, within_s=240)
    assert view["state"] == "succeeded"
    assert view["progress"]["pairs_done"] == 160


def test_embedding_resumes_after_its_worker_was_killed(stack: Stack) -> None:
    tenant = stack.client("resumes")
    assert tenant.http.post("/v1/corpora", json={"name": "demo"}).status_code == 201
    answer = tenant.http.put("/v1/corpora/demo/items", json={"items": items(200)})
    assert answer.status_code == 200
    stack.kill("coarse")
    stack.start("coarse")
    corpus: dict[str, Any] = {}

    def embedded() -> bool:
        corpus.update(tenant.http.get("/v1/corpora/demo").json())
        return bool(corpus["embedded"] == corpus["items"])

    until(embedded, 240, "embedding of all items")
    assert (corpus["pending"], corpus["failed"]) == (0, {})
