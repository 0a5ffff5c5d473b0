"""Who starts before the schema is there, or against an older one, says what to do and ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from repick.cli.app import app
from repick.errors import NotMigrated
from repick.processes import free_port
from repick.settings import Settings
from repick.store import schema
from repick.store.database import Database
from repick.sweep import await_schema
from worker.serving import opened


def test_the_sweep_refuses_in_one_line(empty_database_url: str, broker_url: str) -> None:
    servers = {"REPICK_DATABASE_URL": empty_database_url, "REPICK_BROKER_URL": broker_url}
    command = [sys.executable, "-m", "repick.sweep"]
    done = subprocess.run(
        command, env=os.environ | servers, capture_output=True, text=True, timeout=120, check=False
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 3
    assert "not_migrated" in line
    assert "repick migrate" in line


class StoppedWhileWaiting(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def test_the_sweep_waits_for_a_database_that_does_not_answer_yet() -> None:
    database = Database(f"postgresql+psycopg://a:b@127.0.0.1:{free_port()}/c")
    stopping = StoppedWhileWaiting()
    await_schema(database, 1.0, stopping)
    assert stopping.is_set()
    database.close()


def test_a_worker_refuses(empty_database_url: str, broker_url: str) -> None:
    settings = Settings(database_url=empty_database_url, broker_url=broker_url)
    with pytest.raises(NotMigrated, match="repick migrate"), opened(settings, "coarse", []):
        pass


def test_commands_on_the_database_refuse(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPICK_DATABASE_URL", empty_database_url)
    done = CliRunner().invoke(app, ["key", "list"])
    assert isinstance(done.exception, NotMigrated)


@pytest.mark.parametrize(("revision", "refused"), [("2026_11_23_0001", True), ("9999", False)])
def test_an_older_schema_is_refused_and_one_of_newer_code_is_not(
    database_url: str, revision: str, refused: bool
) -> None:
    database = Database(database_url)
    with database.begin() as connection:
        schema.require(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = :at"), {"at": revision})
        if refused:
            with pytest.raises(NotMigrated, match=revision):
                schema.require(connection)
        else:
            schema.require(connection)
    database.close()
