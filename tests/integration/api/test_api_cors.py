"""Pages of other origins: none may call the API, but those that the operator names."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from api import cors
from repick.processes import free_port
from repick.settings import Settings
from tests.integration.api.harness import Tenant, serving

PAGE = "https://search.example"
ASKING = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
}


def test_no_page_may_call_it_unless_named(tenant: Tenant) -> None:
    answers = (
        tenant.http.options("/v1/jobs", headers=ASKING),
        tenant.http.get("/v1/jobs", headers={"Origin": PAGE}),
    )
    assert [one.status_code for one in answers] == [405, 200]
    for one in answers:
        assert not [name for name in one.headers if name.startswith("access-control-")]


def test_pages_of_named_origins_may_and_others_may_not(settings: Settings, tenant: Tenant) -> None:
    changed = {"cors_origins": f"https://other.example, {PAGE}", "api_port": free_port()}
    with (
        serving(settings.model_copy(update=changed)) as url,
        httpx.Client(base_url=url, headers=tenant.http.headers, trust_env=False) as http,
    ):
        before = http.options("/v1/jobs", headers=ASKING)
        assert before.status_code == 200
        assert before.headers["access-control-allow-origin"] == PAGE
        assert "idempotency-key" in before.headers["access-control-allow-headers"].lower()
        refused = http.get(f"/v1/jobs/{uuid4()}", headers={"Origin": PAGE})
        assert refused.status_code == 404
        assert refused.headers["access-control-allow-origin"] == PAGE
        assert "location" in refused.headers["access-control-expose-headers"].lower()
        assert "access-control-allow-credentials" not in refused.headers
        stranger = http.get("/v1/jobs", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers
        assert http.options("/v1/jobs", headers={**ASKING, "Origin": "null"}).status_code == 400


@pytest.mark.parametrize(
    "setting", ["*", "search.example", "https://search.example/", "ftp://a", "https://a b"]
)
def test_what_is_no_origin_is_refused_at_the_start(setting: str) -> None:
    with pytest.raises(ValueError, match="REPICK_CORS_ORIGINS"):
        cors.parse_origins(setting)
