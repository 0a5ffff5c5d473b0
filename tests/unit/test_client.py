"""The client against a transport of the test: what is repeated, what is raised, what is sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from repick.client import ApiError, Client, Document, Item, Query
from repick.errors import Unavailable
from repick.jobs import JobState

Handler = Callable[[httpx.Request], httpx.Response]
MODEL = {"name": "m", "fingerprint": "f"}


def job(**changes: Any) -> dict[str, Any]:
    value: dict[str, Any] = {
        "id": "01890000-0000-7000-8000-000000000000",
        "state": "queued",
        "final": False,
        "kind": "interactive",
        "corpus": "things",
        "encoder": MODEL,
        "scorer": MODEL,
        "untrained": False,
        "k": 2,
        "top_n": 2,
        "queries": 1,
        "progress": {"pairs_total": 2, "pairs_done": 0, "pairs_reused": 0, "pairs_failed": 0},
        "metadata": {},
        "warnings": [],
        "error": None,
        "created_at": "2026-11-23T03:06:35.882065Z",
        "started_at": None,
        "finished_at": None,
        "href": "/v1/jobs/01890000-0000-7000-8000-000000000000",
        "rankings": [],
        "query_errors": [],
        "next": None,
    }
    return value | changes


def ranking(query: int) -> dict[str, Any]:
    hit = {"rank": 1, "id": "cup", "score": 0.5, "margin": 0.0, "label_mass": 1.0, "entropy": 0.1}
    hit |= {"enhanced_at": None, "coarse_rank": 1, "coarse_score": 0.3}
    facts = {"query": query, "asked": 1, "found": 1, "untrained": False, "errors": []}
    return facts | {"hits": [hit], "created_at": "2026-11-23T03:06:35Z"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are counted and not slept."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def client(handler: Handler) -> Client:
    return Client("http://test", "rpk_x", transport=httpx.MockTransport(handler))


def answering(*answers: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """A handler that gives these answers in turn, and the requests that it saw."""
    seen: list[httpx.Request] = []
    left: Iterator[httpx.Response | Exception] = iter(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle, seen


def problem(status: int, code: str, **more: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": "why"} | more)


def test_a_busy_or_unreachable_api_is_asked_again(no_pauses: list[float]) -> None:
    busy = httpx.Response(503, headers={"Retry-After": "3"}, json={"code": "unavailable"})
    handle, seen = answering(
        httpx.ConnectError("refused"), busy, problem(429, "slow"), httpx.Response(202, json=job())
    )
    assert client(handle).submit("things", Query("a")).state is JobState.QUEUED
    assert len(seen) == 4
    assert len({request.headers["idempotency-key"] for request in seen}) == 1
    assert no_pauses[1] == 3.0


def test_a_lost_answer_is_asked_for_again_only_where_repeating_does_no_harm() -> None:
    handle, seen = answering(httpx.ReadError("cut"), httpx.Response(202, json=job()))
    client(handle).submit("things", Query("a"))
    assert len(seen) == 2
    handle, seen = answering(httpx.ReadError("cut"))
    with pytest.raises(Unavailable):
        client(handle).create_corpus("things")
    assert len(seen) == 1


def test_an_api_that_stays_away_is_unavailable(no_pauses: list[float]) -> None:
    handle, seen = answering(*[httpx.ConnectError("refused")] * 6)
    with pytest.raises(Unavailable, match="http://test"):
        client(handle).corpora()
    assert len(seen) == len(no_pauses) + 1 == 6
    assert no_pauses[-1] > no_pauses[0]


def test_a_refusal_is_raised_with_what_the_api_said() -> None:
    handle, _ = answering(problem(422, "blank", field="query.text"))
    with pytest.raises(ApiError) as caught:
        client(handle).submit("things", Query(" "))
    error = caught.value
    assert (error.status, error.code, error.detail, error.field) == (
        422,
        "blank",
        "why",
        "query.text",
    )


@pytest.mark.parametrize("body", [b"<html>", b"[]", b""])
def test_an_error_that_is_no_problem_is_still_an_api_error(body: bytes) -> None:
    handle, _ = answering(httpx.Response(502, content=body))
    with pytest.raises(ApiError) as caught:
        client(handle).corpora()
    assert (caught.value.status, caught.value.code) == (502, "unknown_error")


def test_a_submit_sends_images_as_base64_and_only_what_is_given(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"png")
    handle, seen = answering(*[httpx.Response(202, json=job())] * 2)
    api = client(handle)
    api.submit("things", Query("a", file), k=3)
    api.submit("things", [Query("a"), Query(image=b"png")], scorer="m", metadata={"x": 1})
    first, second = (json.loads(request.content) for request in seen)
    assert first == {"corpus": "things", "k": 3, "query": {"text": "a", "image": "cG5n"}}
    assert second["queries"] == [{"text": "a"}, {"image": "cG5n"}]
    assert (second["scorer"], second["metadata"]) == ("m", {"x": 1})


def test_a_submit_sends_documents_instead_of_a_corpus() -> None:
    handle, seen = answering(httpx.Response(202, json=job(corpus=None, encoder=None)))
    sent = [Document("a", "words", score=0.5), Document("b", image=b"png")]
    made = client(handle).submit(None, Query("a"), documents=sent)
    assert made.corpus is None
    assert json.loads(seen[0].content) == {
        "documents": [{"id": "a", "text": "words", "score": 0.5}, {"id": "b", "image": "cG5n"}],
        "query": {"text": "a"},
    }


def test_jobs_are_asked_for_by_corpus_and_metadata() -> None:
    handle, seen = answering(httpx.Response(200, json={"items": [], "next": None}))
    assert list(client(handle).jobs(corpus="things", metadata={"run": 1})) == []
    assert dict(seen[0].url.params) == {"corpus": "things", "metadata": '{"run": 1}'}


def test_an_audit_is_asked_for_by_the_callers_own_id() -> None:
    handle, seen = answering(httpx.Response(200, json={"hit": {}}))
    assert client(handle).audit("id", 3, "photos/a b?.png") == {"hit": {}}
    assert seen[0].url.raw_path == b"/v1/jobs/id/rankings/3/photos/a%20b%3F.png"


def test_a_submit_sends_its_options() -> None:
    handle, seen = answering(httpx.Response(202, json=job(blend=0.5, length_policy="truncate")))
    options = {"blend": 0.5, "min_score": 0.1, "length_policy": "truncate", "time_limit_s": 60}
    made = client(handle).submit("things", Query("a"), **options)  # type: ignore[arg-type]
    sent = json.loads(seen[0].content)
    assert {name: sent[name] for name in options} == options
    assert (made.blend, made.length_policy, made.deadline) == (0.5, "truncate", None)


def test_a_submit_sends_a_filter() -> None:
    handle, seen = answering(httpx.Response(202, json=job()))
    client(handle).submit("things", Query("a"), filter={"field": "lang", "eq": "en"})
    assert json.loads(seen[0].content)["filter"] == {"field": "lang", "eq": "en"}


def test_items_are_sent_in_requests_of_bounded_size() -> None:
    sizes: list[tuple[int, int]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        items = json.loads(request.content)["items"]
        sizes.append((len(items), len(request.content)))
        failed = [{"id": items[0]["id"], "code": "c", "detail": "d", "retryable": False}]
        answer = {"stored": len(items) - 1, "unchanged": 0, "failed": failed}
        return httpx.Response(200, json=answer)

    seen: list[int] = []
    small = [Item(str(no), "a") for no in range(501)]
    large = [Item(f"l{no}", image=bytes(9_000_000)) for no in range(2)]
    done = client(handle).put_items("t", [*small, *large], lambda one: seen.append(one.stored))
    assert [count for count, _ in sizes] == [100] * 5 + [2, 1]
    assert all(size < 30_000_000 for _, size in sizes)
    assert (done.stored, len(done.failed), seen) == (496, 7, [*[99] * 5, 1, 0])


def test_waiting_asks_until_the_job_is_final_and_gets_every_page() -> None:
    running = job(state="scoring")
    link = "/v1/jobs/x/rankings?cursor=c"
    final = job(state="succeeded", final=True, rankings=[ranking(0)], next=link)
    rest = {"items": [ranking(1)], "next": None}
    handle, seen = answering(*[httpx.Response(200, json=one) for one in (running, final, rest)])
    done = client(handle).wait("x")
    assert [one.query for one in done.rankings] == [0, 1]
    assert done.rankings[0].hits[0].id == "cup"
    assert seen[0].headers["prefer"] == "wait=30"
    assert seen[2].url.path == "/v1/jobs/x/rankings"


def test_waiting_with_progress_tells_each_state() -> None:
    states = [job(state=state) for state in ("queued", "scoring")]
    states.append(job(state="failed", final=True, error={"code": "x"}))
    handle, _ = answering(*[httpx.Response(200, json=one) for one in states])
    told: list[str] = []
    done = client(handle).wait("x", lambda one: told.append(one.state))
    assert told == ["queued", "scoring", "failed"]
    assert done.error == {"code": "x"}


def test_waiting_ends_at_its_time_limit() -> None:
    handle, _ = answering(*[httpx.Response(200, json=job())] * 9)
    with pytest.raises(TimeoutError, match="still queued"):
        client(handle).wait("x", timeout_s=0)


def test_a_list_of_jobs_is_fetched_as_it_is_asked_for() -> None:
    pages = {"items": [job()] * 2, "next": "/v1/jobs?cursor=c"}, {"items": [job()], "next": None}
    handle, seen = answering(*[httpx.Response(200, json=page) for page in pages])
    found = client(handle).jobs(JobState.SUCCEEDED)
    next(found)
    assert len(seen) == 1
    assert seen[0].url.params["state"] == "succeeded"
    assert len(list(found)) == 2


def corpus(embedded: int, pending: int, failed: int) -> dict[str, Any]:
    value = {"name": "things", "created_at": "2026-11-23T03:06:35Z", "encoder": MODEL}
    value |= {"untrained": False, "dimension": 4, "indexed": False, "items": 3, "failures": []}
    return value | {"embedded": embedded, "pending": pending, "failed": {"too_long": failed}}


def test_waiting_for_a_corpus_ends_when_each_item_has_a_vector_or_a_reason(
    no_pauses: list[float],
) -> None:
    answers = [corpus(0, 3, 0), corpus(1, 2, 0), corpus(2, 0, 1)]
    told: list[int] = []
    with client(lambda _: httpx.Response(200, json=answers.pop(0))) as api:
        done = api.wait_for_corpus("things", lambda one: told.append(one.embedded))
    assert (done.embedded, told) == (2, [0, 1, 2])
    assert len(no_pauses) == 2


def test_waiting_for_a_corpus_ends_at_its_time_limit() -> None:
    with (
        client(lambda _: httpx.Response(200, json=corpus(1, 2, 0))) as api,
        pytest.raises(TimeoutError, match="2 items of things"),
    ):
        api.wait_for_corpus("things", timeout_s=0)
