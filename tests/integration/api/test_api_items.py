"""Corpora and items: bulk, multipart, changes, images as received, tenants kept apart."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest
import redis
from sqlalchemy import text

from api.publisher import EMBED_BATCH, MAX_EMBED_MESSAGES
from repick.settings import Settings
from tests import bad_images
from tests.integration.api.harness import NewTenant, Tenant, base64_of, problem, published

ITEMS = "/v1/corpora/things/items"
PNG, JPEG = bad_images.photo("PNG"), bad_images.photo("JPEG")


def put(tenant: Tenant, *items: dict[str, Any]) -> dict[str, Any]:
    response = tenant.http.put(ITEMS, json={"items": list(items)})
    assert response.status_code == 200, response.text
    value: dict[str, Any] = response.json()
    return value


def test_a_corpus_says_how_far_its_embedding_has_come(tenant: Tenant, corpus: str) -> None:
    with tenant.database.begin() as connection:
        connection.execute(
            text(
                "UPDATE pending_embedding SET error_code = 'decode_error' WHERE tenant_id = :tenant"
                " AND item_id = (SELECT id FROM item WHERE tenant_id = :tenant"
                " AND external_id = 'dog')"
            ),
            {"tenant": tenant.id},
        )
    shown = tenant.http.get(f"/v1/corpora/{corpus}").json()
    assert (shown["items"], shown["embedded"], shown["pending"]) == (2, 0, 1)
    assert shown["failed"] == {"decode_error": 1}
    assert shown["failures"] == [{"id": "dog", "code": "decode_error"}]
    assert shown["encoder"]["name"] == "clip-tiny"
    assert (shown["dimension"], shown["indexed"], shown["untrained"]) == (4, False, True)


def test_items_that_wait_are_published_a_message_a_batch_and_at_most_eight(
    tenant: Tenant, corpus: str, settings: Settings
) -> None:
    queue = "coarse.clip-tiny.bulk"
    with tenant.database.begin() as connection:
        find = text("SELECT id FROM space WHERE tenant_id = :tenant")
        space = connection.execute(find, {"tenant": tenant.id}).scalar_one()
    with redis.Redis.from_url(settings.broker_url) as broker:
        assert published(broker, queue, space) == 1  # the corpus's own
        put(tenant, *({"id": f"first-{no}", "text": str(no)} for no in range(EMBED_BATCH + 1)))
        assert published(broker, queue, space, 3) == 1 + 2
        put(tenant, *({"id": f"many-{no}", "text": str(no)} for no in range(1000)))
        assert published(broker, queue, space, 11) == 1 + 2 + MAX_EMBED_MESSAGES


def test_putting_the_same_again_changes_nothing(tenant: Tenant, corpus: str) -> None:
    item = {"id": "both", "text": "a", "image": base64_of(PNG), "metadata": {"a": 1}}
    assert put(tenant, item) == {"stored": 1, "unchanged": 0, "failed": []}
    before = tenant.rows()
    assert put(tenant, item) == {"stored": 0, "unchanged": 1, "failed": []}
    assert tenant.rows() == before


def test_a_changed_item_keeps_its_id_and_gets_its_new_content(tenant: Tenant, corpus: str) -> None:
    assert put(tenant, {"id": "cup", "text": "a blue cup"})["stored"] == 1
    assert tenant.http.get(f"{ITEMS}/cup").json()["text"] == "a blue cup"
    assert tenant.http.get("/v1/corpora/things").json()["pending"] == 2
    assert tenant.rows()["item"] == 2


@pytest.mark.parametrize("name", ["cup", "photos/2026/a b.jpg", "é%2F?#", "a image", "image"])
def test_an_item_is_found_by_the_callers_own_id(name: str, tenant: Tenant, corpus: str) -> None:
    put(tenant, {"id": name, "text": "a", "image": base64_of(JPEG), "metadata": {"n": 1.5}})
    address = httpx.URL(tenant.http.base_url).copy_with(
        raw_path=f"{ITEMS}/".encode() + _quoted(name)
    )
    shown = tenant.http.get(address).json()
    assert (shown["id"], shown["text"], shown["metadata"]) == (name, "a", {"n": 1.5})
    image = tenant.http.get(shown["image"]["href"])
    assert image.content == JPEG
    assert tenant.http.delete(address).status_code == 204
    assert problem(tenant.http.get(address)) == (404, "item_not_found")


def _quoted(name: str) -> bytes:
    return "".join(f"%{byte:02X}" for byte in name.encode()).encode()


def test_an_image_is_given_back_as_it_was_received(tenant: Tenant, corpus: str) -> None:
    put(tenant, {"id": "p", "image": "data:image/png;base64," + base64_of(PNG)})
    facts = tenant.http.get(f"{ITEMS}/p").json()["image"]
    sha256 = hashlib.sha256(PNG).hexdigest()
    assert (facts["media_type"], facts["width"], facts["height"]) == ("image/png", 32, 24)
    assert (facts["sha256"], facts["bytes"]) == (sha256, len(PNG))
    response = tenant.http.get(f"{ITEMS}/p/image")
    assert response.content == PNG
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["etag"] == f'"{sha256}"'
    assert response.headers["content-disposition"].startswith("inline; filename=")
    again = tenant.http.get(f"{ITEMS}/p/image", headers={"If-None-Match": f'"{sha256}"'})
    assert (again.status_code, again.content) == (304, b"")


def test_a_lost_image_is_our_fault_and_not_the_callers(tenant: Tenant, corpus: str) -> None:
    put(tenant, {"id": "p", "image": base64_of(PNG)})
    for file in tenant.media_files():
        file.unlink()
    assert problem(tenant.http.get(f"{ITEMS}/p/image")) == (503, "media_missing")


def test_items_may_come_as_multipart_with_images_as_parts(tenant: Tenant, corpus: str) -> None:
    items = [{"id": "a", "image_part": "one"}, {"id": "b", "text": "x", "image_part": "two"}]
    items += [{"id": "c", "text": "only"}, {"id": "bad", "image_part": "three"}]
    files = {
        "one": ("ä.png", PNG, "image/png"),
        "two": ("b", JPEG, "application/octet-stream"),
        "three": ("c.png", JPEG, "image/png"),
    }
    response = tenant.http.put(ITEMS, data={"items": json.dumps({"items": items})}, files=files)
    assert response.status_code == 200, response.text
    assert response.json()["stored"] == 3
    assert [(f["id"], f["code"]) for f in response.json()["failed"]] == [("bad", "format_mismatch")]
    assert tenant.http.get(f"{ITEMS}/a/image").content == PNG
    assert tenant.http.get(f"{ITEMS}/b/image").content == JPEG


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\nContent-Disposition: form-data; " + part for part in parts) + end


GOOD = b'name="items"\r\n\r\n{"items": [{"id": "a", "text": "b"}]}\r\n'
REFUSED = (None, 400, "invalid_multipart")
FORMS = (
    ("no boundary", form(GOOD), "multipart/form-data", 400, "invalid_multipart"),
    ("another boundary", form(GOOD), "multipart/form-data; boundary=y", 400, "invalid_multipart"),
    ("cut", form(GOOD, end=b""), "multipart/form-data; boundary=x", 400, "invalid_multipart"),
    ("empty", b"", "multipart/form-data; boundary=x", 400, "invalid_multipart"),
    ("no items", form(b'name="a"\r\n\r\nb\r\n'), None, 400, "invalid_multipart"),
    ("items twice", form(GOOD, GOOD), None, 400, "invalid_multipart"),
    ("no name", form(b"\r\n\r\nb\r\n"), None, 400, "invalid_multipart"),
    ("many parts", form(GOOD, *(b'name="%d"\r\n\r\n\r\n' % n for n in range(1001))), *REFUSED),
    ("odd name", form(b"name*=a; name*0=b\r\n\r\nb\r\n"), None, 400, "invalid_multipart"),
    ("not JSON", form(b'name="items"\r\n\r\n{\r\n'), None, 400, "invalid_json"),
    ("not UTF-8", form(b'name="items"\r\n\r\n{"items": "\xff"}\r\n'), None, 400, "invalid_utf8"),
    ("unused part", form(GOOD, b'name="p"\r\n\r\nb\r\n'), None, 422, "unused_part"),
)


@pytest.mark.parametrize(
    ("name", "body", "kind", "status", "code"), FORMS, ids=lambda v: str(v)[:20]
)
def test_a_broken_form_is_refused_and_stores_nothing(
    name: str, body: bytes, kind: str | None, status: int, code: str, tenant: Tenant, corpus: str
) -> None:
    before = tenant.rows()
    headers = {"Content-Type": kind or "multipart/form-data; boundary=x"}
    response = tenant.http.put(ITEMS, content=body, headers=headers)
    assert problem(response) == (status, code), response.text
    assert tenant.rows() == before


def test_odd_images_are_accepted(tenant: Tenant, corpus: str) -> None:
    odd = {
        "cmyk": bad_images.saved(bad_images.picture(mode="CMYK"), "JPEG"),
        "grey16": bad_images.grey16(0, 65535, 7, 9),
        "turned": bad_images.photo("JPEG", exif=bad_images.exif(6)),
    }
    answer = put(tenant, *({"id": name, "image": base64_of(one)} for name, one in odd.items()))
    assert (answer["stored"], answer["failed"]) == (3, [])
    turned = tenant.http.get(f"{ITEMS}/turned").json()["image"]
    assert (turned["width"], turned["height"]) == (24, 32)


def test_a_list_of_items_goes_on_where_it_ended(tenant: Tenant, corpus: str) -> None:
    put(tenant, *({"id": f"{no:03}", "text": "a"} for no in range(5)))
    seen: list[str] = []
    link = f"{ITEMS}?limit=3"
    while link:
        page = tenant.http.get(link).json()
        seen += [one["id"] for one in page["items"]]
        link = page["next"]
    assert seen == ["000", "001", "002", "003", "004", "cup", "dog"]


def test_deleting_a_corpus_deletes_its_items(tenant: Tenant, corpus: str) -> None:
    assert tenant.http.delete(f"/v1/corpora/{corpus}").status_code == 204
    assert problem(tenant.http.get(ITEMS)) == (404, "corpus_not_found")
    assert (tenant.rows()["corpus"], tenant.rows()["item"]) == (0, 0)
    assert tenant.http.post("/v1/corpora", json={"name": corpus}).status_code == 201


def test_nobody_sees_another_tenants_corpus(
    new_tenant: NewTenant, tenant: Tenant, corpus: str
) -> None:
    put(tenant, {"id": "p", "image": base64_of(PNG)})
    before = tenant.rows()
    stranger = new_tenant()
    item = {"items": [{"id": "a", "text": "b"}]}
    answers = (
        stranger.http.get("/v1/corpora/things"),
        stranger.http.get(ITEMS),
        stranger.http.get(f"{ITEMS}/p"),
        stranger.http.get(f"{ITEMS}/p/image"),
        stranger.http.put(ITEMS, json=item),
        stranger.http.delete(f"{ITEMS}/p"),
        stranger.http.delete("/v1/corpora/things"),
        stranger.http.post("/v1/jobs", json={"corpus": "things", "query": {"text": "a"}}),
    )
    assert {problem(answer) for answer in answers} == {(404, "corpus_not_found")}
    assert stranger.http.get("/v1/corpora").json() == {"items": []}
    assert tenant.rows() == before


def test_the_same_content_of_two_tenants_is_stored_twice(new_tenant: NewTenant) -> None:
    for tenant in (new_tenant(), new_tenant()):
        tenant.http.post("/v1/corpora", json={"name": "things"}).raise_for_status()
        put(tenant, {"id": "p", "image": base64_of(PNG)})
        assert (tenant.rows()["content"], len(tenant.media_files())) == (1, 1)


def test_items_with_the_same_image_or_text_store_it_once(tenant: Tenant, corpus: str) -> None:
    before = tenant.rows()
    assert before["media"] == 0

    def new() -> tuple[int, int, int, int]:
        rows = {table: count - before[table] for table, count in tenant.rows().items()}
        return rows["item"], rows["content"], rows["media"], len(tenant.media_files())

    image = base64_of(PNG)
    put(tenant, {"id": "one", "image": image}, {"id": "two", "image": image})
    assert new() == (2, 1, 1, 1)
    put(tenant, {"id": "three", "image": "data:image/png;base64," + image})
    assert new() == (3, 1, 1, 1)
    put(tenant, {"id": "four", "text": "words"}, {"id": "five", "text": "words"})
    put(tenant, {"id": "six", "text": "words"})
    assert new() == (6, 2, 1, 1)
    put(tenant, {"id": "seven", "text": "words", "image": image})  # a content of its own
    assert new() == (7, 3, 1, 1)
    put(tenant, {"id": "eight", "image": base64_of(JPEG)})
    assert new() == (8, 4, 2, 2)


def put_lines(tenant: Tenant, body: bytes) -> httpx.Response:
    return tenant.http.put(ITEMS, content=body, headers={"Content-Type": "application/x-ndjson"})


def test_items_come_as_lines_as_many_as_the_body_holds(tenant: Tenant, corpus: str) -> None:
    lines = [json.dumps({"id": f"line-{no}", "text": f"text {no % 700}"}) for no in range(1500)]
    response = put_lines(tenant, "\n\n".join(lines).encode())
    assert response.json() == {"stored": 1500, "unchanged": 0, "failed": []}
    assert tenant.rows()["content"] == 702  # what is the same is stored once
    assert put_lines(tenant, lines[0].encode()).json()["unchanged"] == 1


@pytest.mark.parametrize(
    ("line", "status", "code", "field"),
    [
        (b'{"id": "x", "text": ', 400, "invalid_json", None),
        (b'{"id": "x", "text": "\xff"}', 400, "invalid_utf8", None),
        (b"[1]", 422, "invalid_field", "lines[2]"),
        (b'{"id": "x", "words": "a"}', 422, "unknown_field", "lines[2].words"),
        (b'{"id": "x", "text": "\\u0000"}', 422, "invalid_text", "lines[2].text"),
        (b'{"id": "first", "text": "again"}', 422, "duplicate_id", "items[1].id"),
    ],
)
def test_a_wrong_line_is_named_and_no_line_is_stored(
    tenant: Tenant, corpus: str, line: bytes, status: int, code: str, field: str | None
) -> None:
    before = tenant.rows()
    response = put_lines(tenant, b'{"id": "first", "text": "fine"}\n' + line)
    assert problem(response) == (status, code)
    assert response.json().get("field") == field
    assert "2" in response.json()["detail"] or field is not None
    assert tenant.rows() == before


@pytest.mark.parametrize("rest", [b"", b"\n", b"\r\n", b'\n{"id": "y", "text": "b"}'])
def test_the_error_of_a_line_says_its_number_and_no_other(
    rest: bytes, tenant: Tenant, corpus: str
) -> None:
    response = put_lines(tenant, b'{"id": "x", "text": "a"}\n\n{"id": "y"' + rest)
    assert response.json()["detail"] == "line 3: not JSON: Expecting ',' delimiter at column 11"


def test_lines_hold_no_more_values_together_than_one_body_may(tenant: Tenant, corpus: str) -> None:
    line = b'{"id": "x", "text": "a", "metadata": {"a": [' + b"[]," * 200_000 + b"[]]}}\n"
    assert problem(put_lines(tenant, line * 2)) == (413, "too_many_values")
    headers = {"Content-Type": "application/x-ndjson"}
    path = ITEMS.replace("items", "queries")
    answer = tenant.http.put(path, content=line * 2, headers=headers)
    assert problem(answer) == (413, "too_many_values")


def test_a_body_of_blank_lines_is_refused(tenant: Tenant, corpus: str) -> None:
    assert problem(put_lines(tenant, b"\n \n")) == (422, "missing_field")
