"""Real servers for every test that needs one: embedded, started once a session.

A test that asks for `database_url` has a migrated database of its own, cloned from a template; one
that asks for `broker_url` has an empty broker.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import make_url

from repick import embedded

TEMPLATE = "repick_template"

# Before torch is loaded: its threads spin for each other, for minutes where cores are shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests in several processes are told a width, which would be the command line's for good.
os.environ.pop("COLUMNS", None)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print a failure at once: a run that is ended before its summary would say nothing of it."""
    if report.failed:
        print(f"\n{report.nodeid} ({report.when})\n{report.longreprtext}", file=sys.stderr)


@pytest.fixture(scope="session")
def servers() -> Iterator[embedded.Servers]:
    """Postgres and Valkey of this session, without durability; removed at its end.

    Not in pytest's own temporary folder, which is private: as root, Postgres runs as another user.
    """
    folder = Path(tempfile.mkdtemp(prefix="repick-tests-"))
    folder.chmod(0o711)
    try:
        yield embedded.start(folder, fast=True)
    finally:
        embedded.remove(folder)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template_database(servers: embedded.Servers) -> str:
    """The name of a migrated database that nobody is connected to."""
    from repick.store.database import migrate

    _administer(servers, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    migrate(_address(servers, TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(servers: embedded.Servers, template_database: str) -> Iterator[str]:
    """A migrated database of this test alone, in SQLAlchemy's form of address."""
    with cloned_database(servers, template_database) as url:
        yield url


@contextlib.contextmanager
def cloned_database(servers: embedded.Servers, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    names = {"new": sql.Identifier(name), "template": sql.Identifier(template)}
    _administer(
        servers,
        sql.SQL("CREATE DATABASE {new} TEMPLATE {template} STRATEGY FILE_COPY").format(**names),
    )
    yield _address(servers, name)
    _administer(servers, sql.SQL("DROP DATABASE {new} WITH (FORCE)").format(**names))


@pytest.fixture
def empty_database_url(servers: embedded.Servers) -> Iterator[str]:
    """A database of this test alone with nothing in it, for tests of the migrations themselves."""
    name = sql.Identifier(label := f"test_{uuid.uuid4().hex}")
    _administer(servers, sql.SQL("CREATE DATABASE {}").format(name))
    yield _address(servers, label)
    _administer(servers, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def broker_url(servers: embedded.Servers) -> Iterator[str]:
    """The session's broker, emptied before and after the test."""
    with contextlib.closing(redis.Redis.from_url(servers.broker_url)) as broker:
        broker.flushall()
        yield servers.broker_url
        broker.flushall()


def _address(servers: embedded.Servers, database: str) -> str:
    url = make_url(servers.database_url).set(database=database)
    return url.render_as_string(hide_password=False)


def _administer(servers: embedded.Servers, statement: sql.Composed) -> None:
    url = make_url(servers.database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(statement)
