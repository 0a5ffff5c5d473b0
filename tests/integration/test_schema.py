"""The schema: migrations equal the metadata, go up and down, and hold what a state means."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from repick import cli
from repick.errors import Unavailable
from repick.jobs import JobKind, JobState, SliceState, Stage
from repick.schedules import MissedPolicy, RunState, Trigger, WindowPolicy
from repick.store import audits, histories, rankings
from repick.store.database import Database, alembic_config, downgrade, migrate
from repick.tables import SpaceState, metadata
from repick.webhooks.rules import DeliveryState
from tests.integration.pipeline import Pipeline

TENANT_FREE = {"tenant", "encoder", "scorer", "provenance"}


def test_migrations_equal_the_metadata(database_url: str) -> None:
    command.check(alembic_config(database_url))


def test_migrations_go_up_and_down_and_up_again(empty_database_url: str) -> None:
    revisions = list(ScriptDirectory.from_config(alembic_config("")).walk_revisions())
    migrate(empty_database_url)
    for revision in revisions:
        downgrade(empty_database_url, str(revision.down_revision or "base"))
    database = Database(empty_database_url)
    with database.begin() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
        types = text("SELECT typname FROM pg_type WHERE typtype = 'e'")
        assert connection.execute(types).all() == []
    database.close()
    migrate(empty_database_url)


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("job_state", JobState),
        ("job_kind", JobKind),
        ("slice_state", SliceState),
        ("stage", Stage),
        ("space_state", SpaceState),
        ("missed_policy", MissedPolicy),
        ("window_policy", WindowPolicy),
        ("run_trigger", Trigger),
        ("run_state", RunState),
        ("delivery_state", DeliveryState),
    ],
)
def test_enums_equal_their_python_twins(database: Database, name: str, twin: type[StrEnum]) -> None:
    with database.begin() as connection:
        values = connection.execute(text(f"SELECT unnest(enum_range(NULL::{name}))::text"))
        assert values.scalars().all() == [member.value for member in twin]


def test_every_table_of_a_user_carries_its_tenant() -> None:
    for table in metadata.sorted_tables:
        if table.name not in TENANT_FREE:
            assert "tenant_id" in table.c, table.name


def test_tables_shared_across_jobs_begin_their_keys_with_the_tenant() -> None:
    for name in ("media", "content", "item", "embedding", "pair_score"):
        assert next(iter(metadata.tables[name].primary_key)).name == "tenant_id", name


def test_foreign_keys_between_rows_of_a_tenant_include_it() -> None:
    for table in metadata.sorted_tables:
        for key in table.foreign_key_constraints:
            if key.referred_table.name not in TENANT_FREE:
                assert "tenant_id" in key.column_keys, (table.name, key.name)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE job SET state = 'succeeded'",
        "UPDATE job SET finished_at = now()",
        "UPDATE job SET state = 'failed', finished_at = now()",
        "UPDATE job SET pairs_done = 1",
        "UPDATE job SET top_n = 11",
        "UPDATE slice SET state = 'claimed'",
        "UPDATE slice SET state = 'failed'",
    ],
)
def test_checks_hold_what_a_state_means(pipeline: Pipeline, statement: str) -> None:
    pipeline.submit(["a query"])
    with pytest.raises(IntegrityError), pipeline.database.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ranking SET scores = scores",
        "UPDATE content SET text = 'other'",
        "UPDATE pair_score SET margin = 0",
    ],
)
def test_what_was_ranked_and_scored_is_immutable(pipeline: Pipeline, statement: str) -> None:
    pipeline.put({"a": "words"})
    pipeline.run(pipeline.submit(["a query"]))
    with pytest.raises(DBAPIError, match="immutable"), pipeline.database.begin() as connection:
        connection.execute(text(statement))


def test_view_has_one_row_a_hit(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    pipeline.run(job := pipeline.submit(["a query"]))
    with pipeline.database.begin() as connection:
        rows = connection.execute(text("SELECT * FROM ranking_hit ORDER BY rank")).all()
    hits = pipeline.rankings(job)[0].hits
    assert [
        (row.rank, row.external_id, row.margin, row.enhanced_at, row.cut_tokens) for row in rows
    ] == [(hit.rank, hit.external_id, hit.margin, hit.enhanced_at, 0) for hit in hits]


def test_a_new_column_ends_no_reading(pipeline: Pipeline) -> None:
    """As of an API that runs while a later version's migration does."""
    pipeline.put({"red": "a red square"})
    pipeline.run(job_id := pipeline.submit(["red"]))
    tenant = pipeline.tenant_id

    def read(connection: Connection) -> list[object]:
        of_run = histories.of_run(connection, tenant, job_id, None, 10)
        audit = audits.find(connection, tenant, job_id, 0, "red")
        return [rankings.read(connection, tenant, job_id), of_run, audit]

    with pipeline.database.read() as reading:
        for _ in range(10):  # until psycopg has prepared the statements
            before = read(reading)
        with pipeline.database.begin() as connection:
            for table in ("ranking", "pair_score"):
                connection.execute(text(f"ALTER TABLE {table} ADD COLUMN later integer"))
        assert read(reading) == before
    assert all(before)


def test_a_key_for_a_database_without_tables_is_told_to_migrate(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPICK_DATABASE_URL", empty_database_url)
    monkeypatch.setattr("sys.argv", ["repick", "key", "create", "me"])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert "(not_migrated)" in capsys.readouterr().err


def test_a_user_who_may_not_migrate_is_told_so(empty_database_url: str) -> None:
    plain = make_url(empty_database_url).set(username="plain", password="plain")
    database = Database(empty_database_url)
    with database.begin() as connection:
        connection.execute(text("CREATE ROLE plain LOGIN PASSWORD 'plain'"))
    try:
        with pytest.raises(Unavailable, match="the database refused: permission denied"):
            migrate(plain.render_as_string(hide_password=False))
    finally:
        with database.begin() as connection:
            connection.execute(text("DROP ROLE plain"))
        database.close()


def test_two_migrations_at_once_both_succeed(empty_database_url: str) -> None:
    code = "import sys; from repick.store.database import migrate; migrate(sys.argv[1])"
    command_line = [sys.executable, "-c", code, empty_database_url]
    both = [subprocess.Popen(command_line) for _ in range(2)]
    assert [one.wait(timeout=60) for one in both] == [0, 0]
