"""One stack of real processes for all acceptance tests, with the tiny models of the demo."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.stand_ins import CLIP, QWEN, make_stand_ins
from repick.embedded import Servers
from tests.acceptance.stack import Stack, until


@pytest.fixture(scope="module")
def acceptance_database(servers: Servers, template_database: str) -> Iterator[str]:
    from tests.conftest import cloned_database

    with cloned_database(servers, template_database) as url:
        yield url


@pytest.fixture(scope="module")
def stack(
    servers: Servers, acceptance_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    make_stand_ins(folder / "models")
    stack = Stack(
        folder,
        {
            "REPICK_DATABASE_URL": acceptance_database,
            "REPICK_BROKER_URL": servers.broker_url,
            "REPICK_DATA_DIR": str(folder),
            "REPICK_SECRET": "acceptance",
            "REPICK_FLOWER_PASSWORD": "petals",
            "REPICK_ENCODER": str(folder / "models" / CLIP),
            "REPICK_SCORER": str(folder / "models" / QWEN),
            "REPICK_READOUTS": "choice,yes_no",
            "REPICK_MIN_PIXELS": str(4 * 28 * 28),
            "REPICK_MAX_PIXELS": str(64 * 28 * 28),
            "REPICK_BATCH_PAIRS": "4",
            "REPICK_SLICE_PAIRS": "16",
            "REPICK_BATCH_DEADLINE_S": "4",
            "REPICK_LEASE_MARGIN_S": "1",
            "REPICK_SWEEP_INTERVAL_S": "0.5",
            "OMP_NUM_THREADS": "1",
        },
    )
    stack.start("api", "coarse", "fine-1", "sweep", "flower")
    try:
        for name in ("coarse", "fine-1"):
            stack.serving(name)
        until(lambda: _ready(stack), 120, "readiness of the API")
        yield stack
    finally:
        stack.stop()


def _ready(stack: Stack) -> bool:
    import httpx

    try:
        return httpx.get(f"{stack.api_url}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
