"""Row-level security: what a tenant's connection sees and may write, whatever a statement says."""

from __future__ import annotations

import contextvars
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from repick import embedded
from repick.content import Content
from repick.errors import Unavailable
from repick.store import contents, corpora, jobs, keys, partitions, registry, spaces, tenancy
from repick.store.database import Database, downgrade, migrate
from repick.store.tenancy import Role
from tests.fakes import ENCODER
from tests.integration.pipeline import Pipeline

OWNED = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE a.attname = 'tenant_id' AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
AND c.relnamespace = current_schema()::regnamespace ORDER BY 1
"""


@pytest.fixture
def api(database_url: str) -> Iterator[Database]:
    """The database as the API opens it, one connection so that its state is seen."""
    opened = Database(database_url, connections=2, role=Role.API)
    yield opened
    opened.close()


def acting(tenant_id: int, work: Callable[[], Any]) -> Any:
    """What `work` gives in a context of its own that acts for the tenant."""

    def run() -> Any:
        tenancy.act_for(tenant_id)
        return work()

    return contextvars.copy_context().run(run)


def owned_tables(connection: Connection) -> list[str]:
    return [str(name) for name in connection.execute(text(OWNED)).scalars()]


def other_tenant(database: Database) -> int:
    with database.begin() as connection:
        return keys.ensure_tenant(connection, "the other")


@pytest.fixture
def mine(pipeline: Pipeline) -> Pipeline:
    """A tenant with rows in most tables: a job that has ended, one that runs, a key."""
    pipeline.put({"cup": "a red cup", "dog": "a dog"})
    pipeline.run(pipeline.submit(["a cup"]))
    pipeline.submit(["a dog"])
    with pipeline.database.begin() as connection:
        keys.create_key(connection, pipeline.tenant_id, "mine")
    return pipeline


def test_every_table_with_tenants_is_forced_and_has_both_policies(pipeline: Pipeline) -> None:
    """Also partitions that are made at run time: of a space's vectors, and of weeks of jobs."""
    with pipeline.database.begin() as connection:
        for week in list(partitions.missing(connection, datetime.now(UTC))):
            partitions.create(connection, week)
    with pipeline.database.begin() as connection:
        tables = owned_tables(connection)
        weeks = partitions.weeks(connection)
        made = {week.of(table) for week in weeks for table in partitions.JOB_TABLES}
        assert len(made) == 5 * len(weeks) > 0
        assert made | {f"embedding_s{pipeline.space_id}"} <= set(tables)
        for table in tables:
            row = connection.execute(
                text(
                    "SELECT relrowsecurity AND relforcerowsecurity AS forced, ARRAY(SELECT polname"
                    " FROM pg_policy WHERE polrelid = c.oid ORDER BY 1) AS policies"
                    " FROM pg_class c WHERE oid = CAST(:table AS regclass)"
                ),
                {"table": table},
            ).one()
            assert row.forced, table
            assert row.policies == ["repick_service", "repick_tenant"], table
        views = (
            "SELECT relname, reloptions FROM pg_class WHERE relkind = 'v'"
            " AND relnamespace = current_schema()::regnamespace"
        )
        for view in connection.execute(text(views)):
            assert "security_invoker=true" in view.reloptions, view.relname
        assert tenancy.protected(connection)


def test_the_api_is_no_owner_and_may_not_pass_by(mine: Pipeline, api: Database) -> None:
    with api.read() as connection:
        facts = connection.execute(
            text(
                "SELECT current_user AS me, rolsuper, rolbypassrls, rolcanlogin,"
                " (SELECT count(*) FROM pg_class WHERE relowner = pg_roles.oid) AS owns"
                " FROM pg_roles WHERE rolname = current_user"
            )
        ).one()
    assert tuple(facts) == ("repick_api", False, False, False, 0)
    for statement in (
        "SET LOCAL row_security = off; SELECT count(*) FROM job",
        "SELECT sha256 FROM api_key",
        "SELECT * FROM tenant",
        "TRUNCATE job",
        "DROP TABLE item",
        "ALTER TABLE job DISABLE ROW LEVEL SECURITY",
    ):
        with pytest.raises(DBAPIError), api.begin() as connection:
            connection.execute(text(statement))


@pytest.mark.parametrize("who", ["nobody", "another"])
def test_nothing_of_a_tenant_is_seen_changed_or_made_by(
    who: str, mine: Pipeline, api: Database
) -> None:
    """Every table of the catalogue, by statements that forget to ask for a tenant."""
    other = other_tenant(mine.database) if who == "another" else tenancy.NOBODY
    with mine.database.begin() as connection:
        tables = [name for name in owned_tables(connection) if name != "api_key"]
        before = {name: _count(connection, name) for name in tables}
    assert sum(1 for n in before.values() if n) >= 9, before

    def walk() -> None:
        for table in tables:
            with api.begin() as connection:
                assert _count(connection, table) == 0, table
                for change in (f"DELETE FROM {table}", f"UPDATE {table} SET tenant_id = tenant_id"):
                    assert connection.execute(text(change)).rowcount == 0, table

    acting(other, walk)
    with mine.database.begin() as connection:
        assert {name: _count(connection, name) for name in tables} == before


def _count(connection: Connection, table: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_row_cannot_be_written_for_another_or_given_away(mine: Pipeline, api: Database) -> None:
    other = other_tenant(mine.database)

    def write() -> None:
        with pytest.raises(ProgrammingError, match="row-level security"), api.begin() as connection:
            contents.put(connection, mine.tenant_id, [Content("planted")])
        with api.begin() as connection:
            corpora.create(connection, other, "own")
        give = text("UPDATE corpus SET tenant_id = :tenant")
        with pytest.raises(ProgrammingError, match="row-level security"), api.begin() as connection:
            connection.execute(give, {"tenant": mine.tenant_id})

    acting(other, write)


def test_a_query_that_names_the_wrong_tenant_finds_nothing(mine: Pipeline, api: Database) -> None:
    """The second wall: as if an endpoint had mixed up whom it serves."""
    with mine.database.begin() as connection:
        job = connection.execute(text("SELECT id FROM job LIMIT 1")).scalar_one()
        hits = _count(connection, "ranking_hit")
    assert hits

    def look() -> tuple[object, ...]:
        with api.begin() as connection:
            view = jobs.view(connection, mine.tenant_id, job)
            named = corpora.named(connection, mine.tenant_id, "shapes")
            space = spaces.by_id(connection, mine.space_id)
            return view, named, space, _count(connection, "ranking_hit")

    assert acting(other_tenant(mine.database), look) == (None, None, None, 0)
    own = acting(mine.tenant_id, look)
    assert None not in own
    assert own[3] == hits


def test_partitions_are_made_and_dropped_for_their_own_tenant_only(
    mine: Pipeline, api: Database
) -> None:
    other = other_tenant(mine.database)
    with mine.database.begin() as connection:
        encoder = registry.register_encoder(connection, ENCODER)

    def own() -> int:
        with api.begin() as connection:
            corpus = corpora.create(connection, other, "own")
            assert corpus is not None
            return spaces.create(connection, other, corpus, encoder, ENCODER.dimension)

    def drop(space: int) -> None:
        with api.begin() as connection:
            connection.execute(text("SELECT repick_drop_partition(:space)"), {"space": space})

    made = acting(other, own)
    for tenant in (other, tenancy.NOBODY):
        with pytest.raises(ProgrammingError, match="not a space of this tenant"):
            acting(tenant, lambda: drop(mine.space_id))
    with mine.database.begin() as connection:
        assert _count(connection, f"embedding_s{mine.space_id}") == 2
        assert f"embedding_s{made}" in owned_tables(connection)
    acting(other, lambda: drop(made))


def test_the_tenant_is_named_anew_only_where_it_changes(mine: Pipeline, api: Database) -> None:
    """What the server was told last when a connection is handed out, before its first statement."""
    other = other_tenant(mine.database)
    last = text("SELECT query FROM pg_stat_activity WHERE pid = :pid")
    pid = 0

    def step() -> tuple[str, str]:
        nonlocal pid
        with api.read() as connection, mine.database.read() as watcher:
            told = "" if not pid else str(watcher.execute(last, {"pid": pid}).scalar_one())
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            named = connection.execute(text("SELECT current_setting('repick.tenant', true)"))
            return ("set" if "set_config" in told else "kept"), str(named.scalar())

    acting(mine.tenant_id, step)
    assert acting(mine.tenant_id, step) == ("kept", str(mine.tenant_id))
    assert acting(other, step) == ("set", str(other))
    assert acting(other, step) == ("kept", str(other))
    assert step() == ("set", "")  # nobody: never the one before
    with tenancy.for_no_rows():
        assert step() == ("kept", "")


def test_a_rollback_does_not_bring_back_the_tenant_before(mine: Pipeline, api: Database) -> None:
    other = other_tenant(mine.database)

    def fail() -> None:
        with pytest.raises(DBAPIError), api.begin() as connection:
            connection.execute(text("SELECT 1 / 0"))

    def seen() -> int:
        with api.read() as connection:
            return _count(connection, "item")

    assert acting(mine.tenant_id, seen) == 2
    acting(other, fail)
    assert acting(other, seen) == 0
    assert acting(mine.tenant_id, seen) == 2


def test_workers_see_all_tenants_and_cannot_change_the_schema(
    mine: Pipeline, database_url: str
) -> None:
    service = Database(database_url, connections=2, role=Role.SERVICE)
    with service.begin() as connection:
        assert _count(connection, "item") == 2
        assert connection.execute(text("SELECT current_user")).scalar() == "repick_service"
    with pytest.raises(ProgrammingError), service.begin() as connection:
        connection.execute(text("DROP TABLE item"))
    service.close()


@pytest.fixture
def managed(servers: embedded.Servers) -> Iterator[tuple[str, psycopg.Connection[Any], str]]:
    """A database as a provider gives it: its owner is a plain role that may make none."""
    name = f"managed_{uuid.uuid4().hex}"
    admin = make_url(servers.database_url).set(drivername="postgresql")
    with psycopg.connect(admin.render_as_string(hide_password=False), autocommit=True) as root:
        names = {"name": sql.Identifier(name)}
        root.execute(sql.SQL("CREATE ROLE {name} LOGIN PASSWORD 'x'").format(**names))
        root.execute(sql.SQL("CREATE DATABASE {name} OWNER {name}").format(**names))
        inside = admin.set(database=name).render_as_string(hide_password=False)
        with psycopg.connect(inside, autocommit=True) as there:
            there.execute("CREATE EXTENSION vector")
        url = make_url(servers.database_url).set(username=name, password="x", database=name)
        yield url.render_as_string(hide_password=False), root, name
        root.execute(sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))
        root.execute(sql.SQL("DROP ROLE {name}").format(**names))


def test_without_the_roles_nothing_is_switched_on_and_all_works(
    template_database: str, managed: tuple[str, psycopg.Connection[Any], str]
) -> None:
    """Then an administrator grants them, and the next `migrate` switches it on."""
    url, root, name = managed
    migrate(url)
    api = Database(url, connections=2, role=Role.API)
    with api.begin() as connection:
        assert not tenancy.protected(connection)
        tenant = keys.ensure_tenant(connection, "one")
        assert corpora.create(connection, tenant, "things")
    api.close()

    root.execute(sql.SQL("GRANT repick_api, repick_service TO {}").format(sql.Identifier(name)))
    migrate(url)
    owner, api = Database(url, connections=2), Database(url, connections=2, role=Role.API)
    with owner.begin() as connection:
        assert tenancy.protected(connection)
        key = keys.create_key(connection, tenant, "a key")
        encoder = registry.register_encoder(connection, ENCODER)
    with api.begin() as connection:
        assert _count(connection, "corpus") == 0
        who = keys.authenticate(connection, key)
        assert who is not None

    def use() -> int:
        with api.begin() as connection:
            corpus = corpora.create(connection, who.tenant_id, "more")
            assert corpus is not None
            spaces.create(connection, who.tenant_id, corpus, encoder, ENCODER.dimension)
            spaces.drop_of_corpus(connection, who.tenant_id, corpus)
            return _count(connection, "corpus")

    assert acting(tenant, use) == 2
    owner.close()
    api.close()
    downgrade(url, "2026_11_24_0007_calibration")
    migrate(url)


def test_a_user_that_may_not_take_the_role_is_refused_where_it_is_needed(
    database_url: str, managed: tuple[str, psycopg.Connection[Any], str]
) -> None:
    """Otherwise it would see too much, or nothing and say that nothing is there."""
    _, _, name = managed
    stranger = make_url(database_url).set(username=name, password="x")
    api = Database(stranger.render_as_string(hide_password=False), connections=2, role=Role.API)
    with pytest.raises(Unavailable) as refused, api.begin():
        pass
    assert refused.value.code == "no_role"
    api.close()


def test_a_rotated_key_gives_another_and_lives_on_for_the_overlap(database: Database) -> None:
    with database.begin() as connection:
        tenant = keys.ensure_tenant(connection, "one")
        old = keys.create_key(connection, tenant, "a key", ["read"])
        new = keys.rotate_key(connection, tenant, old.split("_")[1], timedelta(hours=1))
        assert new is not None
        both = [keys.authenticate(connection, key) for key in (old, new)]
        assert all(who is not None and who.scopes == {"read"} for who in both)
        last = keys.rotate_key(connection, tenant, new.split("_")[1], timedelta(0))
        assert last is not None
        assert keys.authenticate(connection, new) is None
        assert keys.authenticate(connection, last) is not None
        stranger = keys.ensure_tenant(connection, "two")
        assert keys.rotate_key(connection, stranger, last.split("_")[1], timedelta(0)) is None
        assert keys.rotate_key(connection, tenant, new.split("_")[1], timedelta(0)) is None
