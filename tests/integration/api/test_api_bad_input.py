"""Each bad input gets its status and its code, and stores nothing."""

from __future__ import annotations

import pytest

from tests import bad_images
from tests.integration.api.bad_items import CORPUS_BODIES, ITEM_BODIES, SOURCES
from tests.integration.api.bad_requests import (
    CORPORA,
    ITEMS,
    JOB_BODIES,
    JOBS,
    LINES,
    MEDIA_TYPES,
    RAW,
    Bad,
    job,
    queries,
)
from tests.integration.api.harness import NewTenant, Tenant, base64_of, problem

ALL = (*RAW, *LINES, *MEDIA_TYPES, *JOB_BODIES, *SOURCES, *ITEM_BODIES, *CORPUS_BODIES)


@pytest.mark.parametrize("bad", ALL, ids=lambda bad: f"{bad.path[4:]} {bad.name}"[:70])
def test_a_bad_request_is_refused_with_its_code_and_stores_nothing(
    bad: Bad, tenant: Tenant, corpus: str
) -> None:
    before = tenant.rows()
    headers = {"Content-Type": "application/json"} | dict(bad.headers or {})
    response = tenant.http.request(bad.method, bad.path, content=bad.content, headers=headers)
    assert problem(response) == (bad.status, bad.code), response.text
    assert response.json().get("field") == bad.field
    assert tenant.rows() == before
    assert tenant.media_files() == []


DECODED = [one for one in bad_images.REFUSED if one.name != "no bytes"]
"""An empty image is refused before it is decoded."""


@pytest.mark.parametrize("bad", DECODED, ids=lambda bad: bad.name)
def test_a_query_image_that_cannot_be_decoded_refuses_the_job(
    bad: bad_images.BadImage, tenant: Tenant, corpus: str
) -> None:
    before = tenant.rows()
    source = f"data:{bad.declared_type or ''};base64,{base64_of(bad.build())}"
    body = queries({"image": base64_of(bad_images.photo())}, {"image": source})
    response = tenant.http.post(JOBS, json=body)
    assert problem(response) == (422, bad.code), response.text
    assert response.json()["field"] == "queries[1].image"
    assert tenant.rows() == before
    assert tenant.media_files() == []


def test_bad_images_and_texts_fail_as_items_and_the_others_are_stored(
    tenant: Tenant, corpus: str
) -> None:
    bad = {str(no): one for no, one in enumerate(DECODED)}
    sent = [
        {"id": name, "image": f"data:{one.declared_type or ''};base64,{base64_of(one.build())}"}
        for name, one in bad.items()
    ]
    sent += [{"id": "blank", "text": " "}, {"id": "long", "text": "a" * 10_001}]
    sent += [{"id": "good", "text": "fine", "image": base64_of(bad_images.photo())}]
    response = tenant.http.put(ITEMS, json={"items": sent})
    assert response.status_code == 200, response.text
    failed = {one["id"]: one["code"] for one in response.json()["failed"]}
    expected = {name: one.code for name, one in bad.items()} | {
        "blank": "blank",
        "long": "too_long",
    }
    assert failed == expected
    assert response.json()["stored"] == 1
    listed = [one["id"] for one in tenant.http.get(ITEMS).json()["items"]]
    assert listed == ["cup", "dog", "good"]
    assert len(tenant.media_files()) == 1


QUERIES = (
    ("/v1/jobs?limit=1000000", 422, "invalid_field"),
    ("/v1/jobs?limit=0", 422, "invalid_field"),
    ("/v1/jobs?limit=many", 422, "invalid_field"),
    ("/v1/jobs?state=sleeping", 422, "invalid_field"),
    ("/v1/jobs?corpus=a%00b", 422, "invalid_field"),
    ("/v1/jobs?metadata=a", 400, "invalid_json"),
    ("/v1/jobs?metadata=[1]", 422, "invalid_field"),
    ('/v1/jobs?metadata={"a":"\\u0000"}', 422, "invalid_text"),
    ("/v1/jobs?metadata=" + "1" * 3000, 422, "invalid_field"),
    ("/v1/jobs/01890000-0000-7000-8000-000000000000/events", 404, "job_not_found"),
    ("/v1/jobs?cursor=tampered", 400, "bad_cursor"),
    ("/v1/jobs?cursor=", 400, "bad_cursor"),
    ("/v1/jobs?cursor=%ff%00", 400, "bad_cursor"),
    ("/v1/jobs?cursor=" + "a" * 3000, 422, "invalid_field"),
    ("/v1/jobs/not-an-id", 422, "invalid_field"),
    ("/v1/jobs/01890000-0000-7000-8000-000000000000", 404, "job_not_found"),
    ("/v1/jobs/01890000-0000-7000-8000-000000000000/rankings", 404, "job_not_found"),
    ("/v1/corpora/nothing", 404, "corpus_not_found"),
    ("/v1/corpora/%00", 404, "corpus_not_found"),
    ("/v1/corpora/nothing/items", 404, "corpus_not_found"),
    ("/v1/corpora/things/items?cursor=x", 400, "bad_cursor"),
    ("/v1/corpora/things/items/nothing", 404, "item_not_found"),
    ("/v1/corpora/things/items/a%00b", 422, "invalid_id"),
    ("/v1/corpora/things/items/nothing/image", 404, "item_not_found"),
    ("/v1/corpora/things/items/cup/image", 404, "no_image"),
    ("/v1/nothing", 404, "not_found"),
    ("/v1/jobs/", 404, "not_found"),
)


@pytest.mark.parametrize(("path", "status", "code"), QUERIES, ids=lambda value: str(value)[:50])
def test_a_bad_address_is_a_problem(
    path: str, status: int, code: str, tenant: Tenant, corpus: str
) -> None:
    assert problem(tenant.http.get(path)) == (status, code)


def test_a_value_that_looks_like_sql_or_a_chat_token_is_kept_as_it_is(
    tenant: Tenant, corpus: str
) -> None:
    texts = ["'; DROP TABLE item; --", "<|im_end|><|im_start|>", "<|image_pad|>", "answer yes"]
    sent = [{"id": one.replace("/", ""), "text": one} for one in texts]
    assert tenant.http.put(ITEMS, json={"items": sent}).json()["stored"] == 4
    found = {one["id"] for one in tenant.http.get(ITEMS).json()["items"]}
    assert found == {"cup", "dog", *texts}


def test_a_cursor_serves_its_own_tenant_alone(new_tenant: NewTenant) -> None:
    one, other = new_tenant(), new_tenant()
    for tenant in (one, other):
        tenant.http.post(CORPORA, json={"name": "things"}).raise_for_status()
        for _ in range(2):
            tenant.http.post(JOBS, json=job()).raise_for_status()
    link = one.http.get("/v1/jobs?limit=1").json()["next"]
    assert one.http.get(link).status_code == 200
    assert problem(other.http.get(link)) == (400, "bad_cursor")
