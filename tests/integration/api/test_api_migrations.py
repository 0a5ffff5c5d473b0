"""Migrations while clients submit and poll: nobody is told of a defect."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import create_engine, text

from repick.errors import Unavailable
from repick.processes import free_port
from repick.settings import Settings
from repick.store import keys, registry
from repick.store.database import Database, downgrade, migrate
from tests.integration.api.harness import ENCODER, SCORERS, serving

BEFORE = "2026_11_24_0007_calibration"


def until(true: Callable[[], bool], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_migrating_again_under_load(settings: Settings, database_url: str) -> None:
    database = Database(database_url)
    with database.begin() as connection:
        registry.register_encoder(connection, ENCODER)
        for spec in SCORERS:
            registry.register_scorer(connection, spec)
        tenant = keys.ensure_tenant(connection, "migrated")
        key = keys.create_key(connection, tenant, "test")
    changes = {"database_url": database_url, "api_port": free_port()}
    stop = threading.Event()
    seen: Counter[int] = Counter()
    accepted: list[str] = []
    bearer = {"Authorization": f"Bearer {key}"}
    with serving(settings.model_copy(update=changes)) as url:
        made = httpx.post(f"{url}/v1/corpora", json={"name": "things"}, headers=bearer)
        made.raise_for_status()
    with (
        serving(settings.model_copy(update=changes)) as url,
        httpx.Client(base_url=url, headers=bearer, timeout=60) as http,
    ):

        def load(_: int) -> None:
            while not stop.is_set():
                sent = http.post("/v1/jobs", json={"corpus": "things", "query": {"text": "a"}})
                answers = [sent]
                if sent.status_code == 202:
                    accepted.append(sent.json()["href"])
                    answers.append(http.get(accepted[-1]))
                for answer in answers:
                    seen[answer.status_code] += 1
                    if answer.status_code == 503:
                        assert answer.headers["retry-after"]

        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(load, no) for no in range(2)]
            try:
                for _ in range(3):  # as each deploy does: it also protects every table once more
                    so_far = len(accepted)
                    migrate(database_url)
                    until(lambda: len(accepted) > so_far)  # noqa: B023
            finally:
                stop.set()
            for one in running:
                one.result()
        assert set(seen) <= {200, 202, 503}, seen
        assert seen[202] > 2
        assert {http.get(href).status_code for href in accepted} == {200}
    database.close()


def test_a_migration_gives_up_on_a_lock_that_it_cannot_have(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE pending_embedding IN ACCESS SHARE MODE"))
        with pytest.raises(Unavailable):
            downgrade(database_url, BEFORE)
    engine.dispose()
    migrate(database_url)
