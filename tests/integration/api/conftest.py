"""A real API server on a free port, over real Postgres and Valkey; a tenant of its own a test."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
import uvicorn
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import make_url, text

from api.app import create_app
from repick import embedded
from repick.processes import free_port
from repick.settings import Settings
from repick.specs import EncoderSpec, ScorerSpec
from repick.store import keys, registry
from repick.store.database import Database

ENCODER = EncoderSpec("clip-tiny", "clip", "a" * 64, "b" * 64, 4, untrained=True)
SCORER = ScorerSpec("qwen-tiny", "qwen2_5_vl", "c" * 64, "d" * 64, untrained=True)
COUNTED = ("corpus", "item", "content", "media", "job", "job_query", "slice", "idempotency")


@dataclass(frozen=True)
class Tenant:
    """A tenant of one test: an HTTP client with its key, and what the database holds of it."""

    id: int
    key: str
    http: httpx.Client
    database: Database
    settings: Settings

    def rows(self) -> Mapping[str, int]:
        with self.database.begin() as connection:
            return {
                table: connection.execute(
                    text(f"SELECT count(*) FROM {table} WHERE tenant_id = :tenant"),
                    {"tenant": self.id},
                ).scalar_one()
                for table in COUNTED
            }

    def media_files(self) -> list[Path]:
        folder = self.settings.media_folder / str(self.id)
        return [path for path in folder.rglob("*") if path.is_file()]


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The API in a thread; its address."""
    config = uvicorn.Config(
        create_app(settings),
        host="127.0.0.1",
        port=settings.api_port,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            assert time.monotonic() < deadline, "the API did not start in time"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{settings.api_port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def api_database_url(servers: embedded.Servers, template_database: str) -> Iterator[str]:
    """A migrated database of this module; its tests are kept apart by their tenants."""
    name = f"test_api_{uuid.uuid4().hex}"
    address = make_url(servers.database_url)
    admin = address.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template_database)
            )
        )
    yield address.set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        )


@pytest.fixture(scope="module")
def settings(
    api_database_url: str, servers: embedded.Servers, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    return Settings(
        database_url=api_database_url,
        broker_url=servers.broker_url,
        data_dir=tmp_path_factory.mktemp("data"),
        secret=SecretStr("a secret of the tests"),
        api_port=free_port(),
        max_body_bytes=2_000_000,
        max_image_bytes=200_000,
        max_text_chars=10_000,
        max_query_chars=1_000,
        max_queries=200,
    )


@pytest.fixture(scope="module")
def database(api_database_url: str) -> Iterator[Database]:
    opened = Database(api_database_url, pool_size=2)
    with opened.begin() as connection:
        registry.register_encoder(connection, ENCODER)
        registry.register_scorer(connection, SCORER)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def base_url(settings: Settings, database: Database) -> Iterator[str]:
    with serving(settings) as url:
        yield url


NewTenant = Callable[..., Tenant]


@pytest.fixture
def new_tenant(base_url: str, database: Database, settings: Settings) -> Iterator[NewTenant]:
    """Makes tenants, each with a key of the given scopes."""
    made: list[Tenant] = []

    def make(*scopes: str) -> Tenant:
        with database.begin() as connection:
            tenant_id = keys.ensure_tenant(connection, uuid.uuid4().hex)
            key = keys.create_key(connection, tenant_id, "test", scopes or keys.SCOPES)
        http = httpx.Client(
            base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=30
        )
        made.append(Tenant(tenant_id, key, http, database, settings))
        return made[-1]

    yield make
    for tenant in made:
        tenant.http.close()


@pytest.fixture
def tenant(new_tenant: NewTenant) -> Tenant:
    return new_tenant()


@pytest.fixture
def corpus(tenant: Tenant) -> str:
    """The name of a corpus of the test's tenant, with two items."""
    tenant.http.post("/v1/corpora", json={"name": "things"}).raise_for_status()
    items = [{"id": "cup", "text": "a red cup"}, {"id": "dog", "text": "a dog"}]
    tenant.http.put("/v1/corpora/things/items", json={"items": items}).raise_for_status()
    return "things"
