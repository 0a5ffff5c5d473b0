"""Putting items leaves a core to those who embed them, and to everybody who submits and polls."""

from __future__ import annotations

import pytest

from api import services
from api.services import INGESTS_AT_ONCE
from repick.settings import Settings

NOWHERE = Settings(
    database_url="postgresql+psycopg://nobody@127.0.0.1:1/none", broker_url="redis://127.0.0.1:1"
)


@pytest.mark.parametrize(("cores", "at_once"), [(1, 2), (2, 2), (4, 3), (64, INGESTS_AT_ONCE)])
def test_requests_that_put_items_leave_a_core_to_others(
    monkeypatch: pytest.MonkeyPatch, cores: int, at_once: int
) -> None:
    monkeypatch.setattr(services, "cores", lambda: cores)
    with services.opened(NOWHERE) as opened:
        assert opened.ingests.of_tenant == at_once
        assert opened.ingests.most == at_once + 1


def test_there_is_at_least_one_core() -> None:
    assert services.cores() >= 1
