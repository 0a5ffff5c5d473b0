"""Thousands of queries as NDJSON, rankings as NDJSON, events as they happen, and lists of jobs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests import bad_images
from tests.integration.api.harness import NewTenant, Tenant, base64_of, finish, problem, submit

NDJSON = {"Content-Type": "application/x-ndjson"}
LINES = {"Accept": "application/x-ndjson"}


def upload(tenant: Tenant, *lines: Any, **headers: str) -> httpx.Response:
    body = "".join(json.dumps(line) + "\n" for line in lines)
    return tenant.http.post("/v1/jobs", content=body, headers=NDJSON | headers)


def test_thousands_of_queries_arrive_a_line_each(tenant: Tenant, corpus: str) -> None:
    queries = [{"text": f"query {no}"} for no in range(2999)]
    photo = {"image": base64_of(bad_images.photo())}
    response = upload(tenant, {"corpus": corpus, "k": 5, "metadata": {"a": 1}}, *queries, photo)
    job = response.json()
    assert response.status_code == 202, job
    assert (job["queries"], job["k"], job["kind"]) == (3000, 5, "batch")
    assert tenant.rows()["job_query"] == 3000
    assert len(tenant.media_files()) == 1


def test_an_upload_is_repeated_under_its_key_in_either_form(tenant: Tenant, corpus: str) -> None:
    key = {"Idempotency-Key": "upload"}
    first = upload(tenant, {"corpus": corpus}, {"text": "a"}, {"text": "b"}, **key)
    spaced = b'{ "corpus":"things" }\r\n\r\n{"text": "a"}\n{"text":"b"}'
    again = tenant.http.post("/v1/jobs", content=spaced, headers=NDJSON | key)
    body = {"corpus": corpus, "queries": [{"text": "a"}, {"text": "b"}]}
    as_json = tenant.http.post("/v1/jobs", json=body, headers=key)
    assert {one.json()["id"] for one in (again, as_json)} == {first.json()["id"]}
    assert problem(upload(tenant, {"corpus": corpus}, {"text": "a"}, **key)) == (
        409,
        "idempotency_mismatch",
    )


@pytest.mark.parametrize("rest", [b"", b"\n", b"\r\n", b'\n{"text": "b"}'])
def test_the_error_of_a_line_says_its_number_and_no_other(
    rest: bytes, tenant: Tenant, corpus: str
) -> None:
    body = b'{"corpus": "things"}\n{"text": "a"}\n\n{"text": "b"; }' + rest
    response = tenant.http.post("/v1/jobs", content=body, headers=NDJSON)
    assert response.json()["detail"] == "line 4: not JSON: Expecting ',' delimiter at column 13"


@pytest.mark.parametrize("rest", [b"", b"\n", b"\r\n", b'\n{"text": "b"}'])
def test_a_line_that_is_cut_short_ends_at_its_own_end(
    rest: bytes, tenant: Tenant, corpus: str
) -> None:
    response = tenant.http.post("/v1/jobs", content=b'{"corpus": "things"' + rest, headers=NDJSON)
    assert response.json()["detail"] == "line 1: not JSON: Expecting ',' delimiter at column 20"


@pytest.mark.parametrize("body", [b'{"text": "a"}\n{"text": "b"}', b'{"corpus": "things"}\n'])
def test_an_upload_without_options_or_without_queries_is_told_its_form(
    body: bytes, tenant: Tenant, corpus: str
) -> None:
    answer = tenant.http.post("/v1/jobs", content=body, headers=NDJSON)
    assert answer.status_code == 422
    assert "first line holds the job's options" in answer.json()["detail"]


def test_rankings_are_streamed_a_line_each(tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, queries=[{"text": str(no)} for no in range(150)])
    finish(tenant, job["id"])
    path = job["href"] + "/rankings"
    response = tenant.http.get(path, headers=LINES)
    assert response.headers["content-type"].startswith("application/x-ndjson")
    streamed = [json.loads(line) for line in response.text.splitlines()]
    first = page = tenant.http.get(path).json()
    paged = list(first["items"])
    while page["next"]:
        page = tenant.http.get(page["next"]).json()
        paged += page["items"]
    assert streamed == paged
    rest = tenant.http.get(first["next"], headers=LINES).text.splitlines()
    assert [json.loads(line) for line in rest] == paged[len(first["items"]) :]


def test_a_job_without_rankings_streams_nothing(tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, query={"text": "a"})
    response = tenant.http.get(job["href"] + "/rankings", headers=LINES)
    assert (response.status_code, response.text) == (200, "")


def test_jobs_are_listed_by_corpus_and_metadata(tenant: Tenant, corpus: str) -> None:
    tenant.http.post("/v1/corpora", json={"name": "others"}).raise_for_status()
    runs = [
        submit(tenant, query={"text": "a"}, metadata={"run": no % 2, "x": {"y": [no]}})["id"]
        for no in range(4)
    ]
    other = submit(tenant, query={"text": "a"}, corpus="others", metadata={"run": 1})["id"]

    def listed(**query: str) -> list[str]:
        ids: list[str] = []
        link = str(httpx.URL("/v1/jobs", params=query | {"limit": "1"}))
        while link:
            page = tenant.http.get(link).json()
            ids += [one["id"] for one in page["items"]]
            link = page["next"]
        return ids

    assert listed(corpus="others") == [other]
    assert listed(metadata='{"run": 1}') == [other, runs[3], runs[1]]
    assert listed(corpus="things", metadata='{"run": 1}', state="queued") == [runs[3], runs[1]]
    assert listed(metadata='{"x": {"y": [2]}}') == [runs[2]]
    assert listed(metadata='{"run": "1"}') == listed(corpus="'; --") == []
    assert len(listed(metadata="{}")) == 5


@contextmanager
def events(
    tenant: Tenant, job: dict[str, Any], last_id: str = ""
) -> Iterator[Iterator[dict[str, str]]]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with tenant.http.stream("GET", job["href"] + "/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield read_events(response)


def read_events(response: httpx.Response) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif "data" in event:
            yield event
            event = {}
        else:
            event = {}


def progress(tenant: Tenant, job: dict[str, Any], done: int) -> None:
    with tenant.database.begin() as connection:
        connection.execute(
            text(
                "UPDATE job SET state = 'scoring', pairs_total = 9, pairs_done = :done"
                " WHERE id = :job"
            ),
            {"done": done, "job": job["id"]},
        )


def test_events_tell_each_change_until_the_end(tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, query={"text": "a"})
    with events(tenant, job) as stream:
        first = next(stream)
        assert first["event"] == "progress"
        assert json.loads(first["data"])["state"] == "queued"
        progress(tenant, job, 4)
        second = json.loads(next(stream)["data"])
        assert (second["state"], second["progress"]["pairs_done"]) == ("scoring", 4)
        finish(tenant, job["id"])
        rest = list(stream)
    last = json.loads(rest[-1]["data"])
    assert (rest[-1]["event"], last["state"], last["ranked"]) == ("end", "succeeded", 1)
    assert [one["event"] for one in rest].count("end") == 1


def test_a_client_that_comes_back_is_told_only_what_is_new(tenant: Tenant, corpus: str) -> None:
    job = submit(tenant, query={"text": "a"})
    with events(tenant, job) as stream:
        first = next(stream)
    later = threading.Timer(0.3, progress, (tenant, job, 5))
    later.start()
    with events(tenant, job, first["id"]) as stream:
        assert json.loads(next(stream)["data"])["progress"]["pairs_done"] == 5
    later.join()
    tenant.http.post(job["href"] + "/cancel").raise_for_status()
    with events(tenant, job, "anything else") as stream:
        (end,) = stream
    assert (end["event"], json.loads(end["data"])["state"]) == ("end", "cancelled")
    path = job["href"] + "/events"
    assert tenant.http.get(path, headers={"Last-Event-ID": end["id"]}).status_code == 204


def test_nobody_hears_another_tenants_events(
    new_tenant: NewTenant, tenant: Tenant, corpus: str
) -> None:
    job = submit(tenant, query={"text": "a"})
    assert problem(new_tenant().http.get(job["href"] + "/events")) == (404, "job_not_found")
