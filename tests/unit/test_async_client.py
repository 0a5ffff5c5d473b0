"""The async client: made from the sync one, and it does what that one does."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from repick.client import ApiError, AsyncClient, Client, Query
from repick.client import generate as making

MODEL = {"name": "m", "fingerprint": "f"}
JOB: dict[str, Any] = {
    "id": "j1",
    "state": "succeeded",
    "final": True,
    "kind": "interactive",
    "corpus": "things",
    "encoder": MODEL,
    "scorer": MODEL,
    "untrained": False,
    "k": 1,
    "top_n": 1,
    "queries": 1,
    "progress": {"pairs_total": 0, "pairs_done": 0, "pairs_reused": 0, "pairs_failed": 0},
    "metadata": {},
    "warnings": [],
    "error": None,
    "created_at": "2026-11-23T00:00:00Z",
    "started_at": None,
    "finished_at": None,
    "href": "/v1/jobs/j1",
    "rankings": [],
    "query_errors": [],
    "next": None,
}


def run(
    answer: Callable[[httpx.Request], httpx.Response],
    call: Callable[[AsyncClient], Coroutine[Any, Any, Any]],
) -> Any:
    async def whole() -> Any:
        transport = httpx.MockTransport(answer)
        async with AsyncClient("http://api", "rpk_x", transport=transport) as client:
            return await call(client)

    return asyncio.run(whole())


def test_what_is_checked_in_is_what_the_sync_client_makes() -> None:
    for source, target in making.SOURCES.items():
        made = making.formatted(making.generate((making.FOLDER / source).read_text(), source))
        assert (making.FOLDER / target).read_text() == made, (
            f"{target} is stale: run python -m repick.client.generate"
        )


def test_both_clients_have_the_same_calls() -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {n: list(inspect.signature(f).parameters) for n, f in found if n[0] != "_"}

    assert calls(AsyncClient) == calls(Client)


def test_rank_submits_and_waits() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        state = {"state": "queued", "final": False} if request.method == "POST" else {}
        return httpx.Response(202 if state else 200, json=JOB | state)

    done = run(answer, lambda client: client.rank("things", Query("a cup")))
    assert (done.id, done.state) == ("j1", "succeeded")


def test_jobs_come_page_by_page() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        last = "cursor" in request.url.params
        page = {"items": [JOB | {"id": "j2" if last else "j1"}]}
        return httpx.Response(200, json=page | {"next": None if last else "/v1/jobs?cursor=c"})

    async def ids(client: AsyncClient) -> list[str]:
        return [job.id async for job in client.jobs()]

    assert run(answer, ids) == ["j1", "j2"]


def test_a_busy_api_is_asked_again_without_holding_up_others() -> None:
    answers = [httpx.Response(503, headers={"Retry-After": "1"}), httpx.Response(200, json=JOB)]

    async def meanwhile(client: AsyncClient) -> float:
        started = time.monotonic()
        asking = asyncio.create_task(client.job("j1"))
        await asyncio.sleep(0.05)
        free_after = time.monotonic() - started
        assert (await asking).id == "j1"
        return free_after

    assert run(lambda request: answers.pop(0), meanwhile) < 0.8


def test_a_refusal_is_the_same_error_as_the_sync_clients() -> None:
    answer = httpx.Response(404, json={"code": "job_not_found", "detail": "no such job"})
    with pytest.raises(ApiError) as caught:
        run(lambda request: answer, lambda client: client.job("j1"))
    assert (caught.value.status, caught.value.code) == (404, "job_not_found")
