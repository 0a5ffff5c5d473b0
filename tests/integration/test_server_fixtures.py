"""The fixtures that give a test a database and a broker of its own."""

from __future__ import annotations

import contextlib

import psycopg
import redis


def test_a_database_is_migrated_and_its_neighbour_is_separate(
    database_url: str, empty_database_url: str
) -> None:
    for url, tables in ((database_url, True), (empty_database_url, False)):
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            row = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
        assert row == (tables,)


def test_a_broker_is_empty(broker_url: str) -> None:
    with contextlib.closing(redis.Redis.from_url(broker_url)) as broker:
        assert broker.dbsize() == 0
