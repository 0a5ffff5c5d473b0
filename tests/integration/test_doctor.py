"""`repick doctor` on real servers: what is there, what is missing, and no secret in any answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from repick import doctor
from repick.cli.app import app
from repick.doctor import Finding, Verdict, clock, examine, healthy
from repick.processes import free_port
from repick.settings import Settings
from repick.store import registry
from repick.store.database import Database
from repick.store.server import Server
from tests.fakes import ENCODER, SCORER


def by_part(findings: list[Finding]) -> dict[str, Finding]:
    return {one.part: one for one in findings}


def test_servers_that_answer_are_told_with_versions_and_clocks(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    database = Database(database_url)
    with database.begin() as connection:
        registry.register_encoder(connection, ENCODER)
        registry.register_scorer(connection, SCORER)
    database.close()
    settings = Settings(database_url=database_url, broker_url=broker_url, data_dir=tmp_path)
    found = by_part(examine(settings, embedded=True))
    for part in (
        *("versions", "postgres", "pgvector", "migrations", "row-level security"),
        *("broker", "models", "media"),
    ):
        assert found[part].verdict is Verdict.OK, found[part]
    assert found["clock of postgres"].verdict is Verdict.OK
    assert found["clock of broker"].verdict is Verdict.OK
    assert "Valkey" in found["broker"].detail
    assert "fake-scorer" in found["models"].detail
    assert found["workers"].verdict is Verdict.WARN  # none runs here


def test_a_database_without_the_schema_is_a_fault_with_its_remedy(
    empty_database_url: str, broker_url: str, tmp_path: Path
) -> None:
    settings = Settings(database_url=empty_database_url, broker_url=broker_url, data_dir=tmp_path)
    found = examine(settings, embedded=True)
    assert by_part(found)["migrations"].verdict is Verdict.FAIL
    assert "repick migrate" in by_part(found)["migrations"].detail
    assert not healthy(found)


def test_servers_that_are_away_and_a_missing_checkpoint_are_faults_without_their_passwords(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = free_port()
    for name, value in {
        "DATABASE_URL": f"postgresql+psycopg://u:geheim@127.0.0.1:{port}/d",
        "BROKER_URL": f"redis://:geheim@127.0.0.1:{port}/0",
        "DATA_DIR": str(tmp_path),
        "ENCODER": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(f"REPICK_{name}", value)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    verdicts = {one["part"]: one["verdict"] for one in json.loads(result.output)}
    failed = {part for part, verdict in verdicts.items() if verdict == "fail"}
    assert failed >= {"postgres", "broker", "encoder checkpoint"}
    assert "geheim" not in result.output


def test_a_variable_that_is_no_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "settings" not in by_part(examine(Settings()))
    monkeypatch.setenv("REPICK_SCORRER", "geheim")
    found = by_part(examine(Settings()))["settings"]
    assert (found.verdict, "REPICK_SCORRER" in found.detail) == (Verdict.WARN, True)
    assert "geheim" not in found.detail


def test_why_postgres_does_not_answer_is_told(tmp_path: Path) -> None:
    settings = Settings(
        database_url=f"postgresql://u:geheim@127.0.0.1:{free_port()}/d", data_dir=tmp_path
    )
    found = by_part(examine(settings))
    assert "refused" in found["postgres"].detail
    assert "REPICK_BROKER_URL is not set" in found["broker"].detail


@pytest.mark.parametrize(
    ("skew", "verdict"), [(0.2, "ok"), (-0.2, "ok"), (2, "warn"), (-2, "warn"), (-60, "fail")]
)
def test_clocks_that_differ_are_graded(skew: float, verdict: str) -> None:
    assert clock("clock", skew).verdict == verdict


def test_a_server_that_others_reach_needs_the_releases_with_security_fixes() -> None:
    from datetime import UTC, datetime

    old = Server("18.4", "0.8.5", datetime.now(UTC))
    new = Server("18.6", "0.8.7", datetime.now(UTC))
    assert doctor._postgres(old, False).verdict is Verdict.WARN
    assert doctor._pgvector(old, False).verdict is Verdict.WARN
    assert doctor._pgvector(old, True).verdict is Verdict.OK
    assert doctor._postgres(new, False).verdict is Verdict.OK
    assert doctor._pgvector(new, False).verdict is Verdict.OK
