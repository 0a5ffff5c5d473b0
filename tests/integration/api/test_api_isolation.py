"""Every endpoint of the description, asked with another tenant's names and ids: 404, and nothing
is read or written. An endpoint with a new kind of id fails here until it is told one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests import rows
from tests.integration.api.harness import NewTenant, Tenant, problem, submit
from tests.integration.api.owned import MAP, SECRET, fill

OPEN = {"/v1/encoders", "/v1/scorers"}
"""The operator's: the same for every tenant."""
BODIES: Mapping[tuple[str, str], Any] = {
    ("post", "/v1/jobs"): {"corpus": "things", "query": {"text": "a"}},
    ("put", "/v1/corpora/{corpus}/items"): {"items": [{"id": "cup", "text": "planted"}]},
    ("put", "/v1/scorers/{fingerprint}/calibration"): {"map": MAP},
    ("put", "/v1/corpora/{corpus}/queries"): {"queries": [{"id": "cups", "text": "planted"}]},
    ("patch", "/v1/schedules/{schedule}"): {"k": 3},
    ("post", "/v1/schedules/{schedule}/runs"): {},
}
OWN = {("put", "/v1/scorers/{fingerprint}/calibration"), ("post", "/v1/corpora")}
"""What these write is the caller's own, whatever others have under the same name."""
ADMIN_READS = "/v1/webhooks"
"""Where reading is the administrator's too: an address may hold a secret."""


@pytest.fixture
def owner(tenant: Tenant, corpus: str) -> tuple[Tenant, dict[str, str]]:
    """A tenant with something of every kind, and the parameters of paths that lead to it."""
    return tenant, fill(tenant)


def operations(tenant: Tenant) -> list[tuple[str, str]]:
    paths = tenant.http.get("/openapi.json").json()["paths"]
    return [
        (method, path)
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/v1/")
    ]


def filled(path: str, names: Mapping[str, str]) -> str:
    missing = set(re.findall(r"{(\w+)}", path)) - set(names)
    assert not missing, f"{path}: make another tenant's {missing} in `owner`"
    return path.format(**names)


def everything(tenant: Tenant) -> Mapping[str, Any]:
    with tenant.database.begin() as connection:
        return rows.of_tenant(connection, tenant.id)


def test_no_endpoint_gives_or_takes_anything_of_another_tenant(
    owner: tuple[Tenant, dict[str, str]], new_tenant: NewTenant
) -> None:
    victim, names = owner
    stranger = new_tenant()
    before = everything(victim)
    assert sum(1 for found in before.values() if found) >= 8
    for method, path in operations(victim):
        answer = stranger.http.request(method, filled(path, names), json=BODIES.get((method, path)))
        assert SECRET not in answer.text, (method, path)
        if "{" in path and (method, path) not in OWN:
            assert problem(answer)[0] == 404, (method, path, answer.text)
        elif path not in OPEN and method == "get":
            assert answer.json()["items"] == [], path
        assert everything(victim) == before, (method, path)
    own = everything(stranger)
    assert {name for name, found in own.items() if found} == {"api_key", "calibration"}


def test_the_owner_is_answered_by_the_same_addresses(
    owner: tuple[Tenant, dict[str, str]],
) -> None:
    """Otherwise the test above would pass for wrong addresses."""
    victim, names = owner
    missing = {"no_image", "job_final"}  # the cup has no image, the job has ended
    for method, path in operations(victim):
        if method == "get":
            answer = victim.http.get(filled(path, names))
            assert answer.is_success or answer.json()["code"] in missing, (path, answer.text)


def test_a_cursor_of_another_tenant_is_none(
    owner: tuple[Tenant, dict[str, str]], new_tenant: NewTenant
) -> None:
    victim, _ = owner
    submit(victim, query={"text": "another"})
    cursor = re.search("cursor=([^&]+)", victim.http.get("/v1/jobs?limit=1").json()["next"])
    assert cursor
    answer = new_tenant().http.get("/v1/jobs", params={"cursor": cursor[1]})
    assert problem(answer) == (400, "bad_cursor")


def test_a_key_is_refused_by_every_endpoint_that_its_scope_does_not_open(
    owner: tuple[Tenant, dict[str, str]], new_tenant: NewTenant
) -> None:
    """No scope is 403 everywhere; each operation opens to exactly one scope."""
    victim, names = owner
    without = {scope: new_tenant(scope) for scope in ("read", "submit", "ingest", "admin")}
    for method, path in operations(victim):
        opened = []
        for scope, tenant in without.items():
            body = BODIES.get((method, path))
            answer = tenant.http.request(method, filled(path, names), json=body)
            if answer.status_code != 403:
                opened.append(scope)
            else:
                assert problem(answer) == (403, "missing_scope")
        assert len(opened) == 1, (method, path, opened)
        reading = method == "get" and not path.startswith(ADMIN_READS)
        assert (opened == ["read"]) == reading, (method, path, opened)
