"""A real API server on a free port, over real Postgres and Valkey; a tenant of its own a test."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import structlog
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import make_url

from repick import embedded
from repick.processes import free_port
from repick.settings import Settings
from repick.store import keys, registry
from repick.store.database import Database
from tests.integration.api.harness import ENCODER, SCORERS, NewTenant, Tenant, serving

TLS = ssl.create_default_context()
"""Not used, but httpx would make one for each client, which takes longer than most tests."""


@pytest.fixture(scope="session")
def api_database_url(servers: embedded.Servers, template_database: str) -> Iterator[str]:
    """A migrated database of these tests; they are kept apart by their tenants."""
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
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def settings(
    api_database_url: str, servers: embedded.Servers, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    return Settings(
        database_url=api_database_url,
        broker_url=servers.broker_url,
        data_dir=tmp_path_factory.mktemp("data"),
        secret=SecretStr("a secret of the tests"),
        api_port=free_port(),
        max_body_bytes=10_000_000,
        max_image_bytes=6_000_000,
        max_text_chars=10_000,
        max_query_chars=1_000,
        max_queries=200,
        max_streamed_queries=3000,
    )


@pytest.fixture(scope="session")
def database(api_database_url: str) -> Iterator[Database]:
    opened = Database(api_database_url, connections=4)
    with opened.begin() as connection:
        registry.register_encoder(connection, ENCODER)
        for spec in SCORERS:
            registry.register_scorer(connection, spec)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As in production: tracebacks without the values of variables, which also take seconds."""
    path = tmp_path_factory.mktemp("logs") / "api.log"
    file = path.open("w", buffering=1)
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(file),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    yield path
    structlog.reset_defaults()
    file.close()


@pytest.fixture(scope="session")
def base_url(settings: Settings, database: Database, log_file: Path) -> Iterator[str]:
    with serving(settings) as url:
        yield url


@pytest.fixture
def new_tenant(base_url: str, database: Database, settings: Settings) -> Iterator[NewTenant]:
    """Makes tenants, each with a key of the given scopes."""
    made: list[Tenant] = []

    def make(*scopes: str) -> Tenant:
        with database.begin() as connection:
            tenant_id = keys.ensure_tenant(connection, uuid.uuid4().hex)
            key = keys.create_key(connection, tenant_id, "test", scopes or keys.SCOPES)
        http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
            verify=TLS,
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
