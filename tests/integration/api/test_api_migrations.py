"""Migrations up and down while clients submit and poll: nobody is told of a defect."""

from __future__ import annotations

import threading
from collections import Counter
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


def test_up_and_down_under_load(settings: Settings, database_url: str) -> None:
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
    with (
        serving(settings.model_copy(update=changes)) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
    ):
        http.post("/v1/corpora", json={"name": "things"}).raise_for_status()
        items = {"items": [{"id": "cup", "text": "a red cup"}]}
        http.put("/v1/corpora/things/items", json=items).raise_for_status()

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
                # The code of now needs what is new since: down to what it can run with, and up.
                downgrade(database_url, BEFORE_PARTITIONS)
                migrate(database_url)
            finally:
                stop.set()
            for one in running:
                one.result()
        assert set(seen) <= {200, 202, 503}, seen
        assert seen[202] > 2
        assert {http.get(href).status_code for href in accepted} == {200}
    database.close()


BEFORE_PARTITIONS = "2026_11_26_0008_backlog"


def test_a_migration_gives_up_on_a_lock_that_it_cannot_have(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE pending_embedding IN ACCESS SHARE MODE"))
        with pytest.raises(Unavailable):
            downgrade(database_url, BEFORE)
    engine.dispose()
    migrate(database_url)
