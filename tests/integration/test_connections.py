"""What the system is told of a connection to Postgres, and how many there are."""

from __future__ import annotations

import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy import event, make_url, text

from benchmarks.chaos.proxy import Proxy
from repick.errors import StatementTimeout, Unavailable
from repick.store.database import Database
from repick.store.tenancy import Role

PATIENCE_S = 30


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name these options otherwise")
def test_a_server_that_is_gone_without_an_end_is_noticed_soon(database: Database) -> None:
    with database.read() as connection:
        connection.execute(text("SELECT 1"))
        driver = connection.connection.driver_connection
        with socket.socket(fileno=driver.fileno()) as wire:
            try:
                tcp = {
                    name: wire.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
                }
                alive = wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            finally:
                wire.detach()  # it stays the driver's
    assert alive == 1
    assert tcp["TCP_KEEPIDLE"] + tcp["TCP_KEEPINTVL"] * tcp["TCP_KEEPCNT"] == PATIENCE_S
    assert tcp["TCP_USER_TIMEOUT"] == PATIENCE_S * 1000


def test_who_falls_silent_in_a_transaction_does_not_keep_its_locks(database_url: str) -> None:
    """A process that is stopped, or whose network is gone, would keep a job's row from all."""
    lock = text("SELECT pg_advisory_xact_lock(1)")
    with (
        closing(Database(database_url, idle_transaction_s=0.2)) as silent,
        closing(Database(database_url)) as other,
    ):

        def go_silent() -> None:
            with silent.begin() as connection:
                connection.execute(lock)
                with other.begin() as waiting:
                    waiting.execute(lock)

        with pytest.raises(Unavailable):
            go_silent()
        silent.ping()


def test_a_server_that_is_there_and_says_nothing_is_given_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that hangs takes what is sent: the system sees nothing wrong."""
    monkeypatch.setattr("repick.store.database.SILENCE_S", 0)
    url = make_url(database_url)
    assert url.port is not None
    with Proxy(url.port) as proxy:
        through = url.set(port=proxy.port).render_as_string(hide_password=False)
        with closing(Database(through, statement_timeout_s=1)) as database:
            database.ping()
            proxy.silence()
            with pytest.raises(Unavailable):
                database.ping()
            database.ping()


def test_a_statement_that_takes_too_long_is_the_server_s_to_end(database_url: str) -> None:
    with closing(Database(database_url, statement_timeout_s=1)) as database:
        with pytest.raises(StatementTimeout), database.read() as connection:
            connection.execute(text("SELECT pg_sleep(20)"))
        database.ping()


def test_a_transaction_may_pause_but_not_for_long(database: Database) -> None:
    with database.read() as connection:
        shown = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    assert shown == f"{PATIENCE_S}s"


def test_a_workers_transaction_that_is_never_idle_ends_all_the_same(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with part of a pipeline does not take itself for idle; chaos found a job's row
    locked by one, and the sweep passes over what is locked."""
    monkeypatch.setattr("repick.store.database.SILENCE_S", 0)
    lock = text("SELECT pg_advisory_xact_lock(1)")

    def never_idle(database: Database) -> None:
        with database.begin() as connection:
            connection.execute(lock)
            for _ in range(600):
                connection.execute(text("SELECT pg_sleep(0.1)"))

    with closing(Database(database_url, statement_timeout_s=1, role=Role.SERVICE)) as worker:
        with pytest.raises(Unavailable):
            never_idle(worker)
        worker.ping()


def test_connections_are_kept_however_many_are_used_at_once(database_url: str) -> None:
    """Each that is opened for one use takes longer than what it is for, which makes more wait."""
    database, opened, users = Database(database_url, connections=6), [0], 6
    event.listen(database.engine, "connect", lambda *_: opened.__setitem__(0, opened[0] + 1))
    together = threading.Barrier(users, timeout=20)

    def use(_: int) -> None:
        with database.read() as connection:
            together.wait()
            connection.execute(text("SELECT 1"))

    try:
        with ThreadPoolExecutor(users) as threads:
            for _ in range(3):
                list(threads.map(use, range(users)))
    finally:
        database.close()
    assert opened == [6]
