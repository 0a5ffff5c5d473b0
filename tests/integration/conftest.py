"""A pipeline on a real database with fake models and no broker: tasks are called directly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from repick.store.database import Database
from tests.integration.pipeline import Pipeline, open_pipeline


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Iterator[Pipeline]:
    with open_pipeline(database, tmp_path) as pipeline:
        yield pipeline
