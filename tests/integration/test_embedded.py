"""The embedded servers: started, adopted, replaced after a kill, stopped, and closed to others."""

from __future__ import annotations

import contextlib
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from repick import embedded
from repick.embedded import postgres, valkey
from repick.embedded.state import State
from repick.errors import Unavailable

NEVER = Retry(NoBackoff(), 0)


@contextlib.contextmanager
def data_folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="repick-embedded-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        embedded.remove(path)
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """For tests that start what they need and leave the data usable."""
    with data_folder() as path:
        yield path


@pytest.fixture
def damaged_folder() -> Iterator[Path]:
    """For tests that break the data."""
    with data_folder() as path:
        yield path


def libpq(servers: embedded.Servers) -> str:
    return servers.database_url.replace("+psycopg", "")


def query(servers: embedded.Servers, statement: str) -> object:
    with psycopg.connect(libpq(servers)) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def broker(servers: embedded.Servers) -> contextlib.closing[redis.Redis]:
    return contextlib.closing(redis.Redis.from_url(servers.broker_url))


def pids(folder: Path) -> tuple[int, int]:
    """The process ids of the Postgres and the Valkey server of a data folder."""
    postmaster = cluster(folder).postmaster()
    server = valkey._server(folder / "valkey")
    assert postmaster is not None
    assert server is not None
    return postmaster[0].pid, server.pid


def cluster(folder: Path) -> postgres.Cluster:
    state = State.load(folder)
    assert state is not None
    return postgres.locate(folder, state.cluster_key)


def gone(pid: int, within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_starts_a_postgres_that_has_pgvector(servers: embedded.Servers) -> None:
    with psycopg.connect(libpq(servers)) as connection:
        connection.execute("CREATE EXTENSION vector")
        row = connection.execute("SELECT '[1,0]'::halfvec(2) <=> '[0,1]'::halfvec(2)").fetchone()
        connection.rollback()
    assert row == (1.0,)


def test_starts_a_valkey_that_keeps_values(servers: embedded.Servers, broker_url: str) -> None:
    with broker(servers) as client:
        client.set("key", "value")
        assert client.get("key") == b"value"


def test_postgres_refuses_a_wrong_password(servers: embedded.Servers) -> None:
    address = psycopg.conninfo.make_conninfo(libpq(servers), password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(address)


def test_valkey_refuses_commands_without_the_password(servers: embedded.Servers) -> None:
    port = int(servers.broker_url.rsplit(":", 1)[1].split("/")[0])
    with (
        contextlib.closing(redis.Redis(host="127.0.0.1", port=port, retry=NEVER)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_text_is_utf8_and_time_is_utc(servers: embedded.Servers) -> None:
    assert query(servers, "SHOW server_encoding") == "UTF8"
    assert query(servers, "SHOW timezone") == "UTC"


def test_data_is_durable_unless_asked_otherwise(folder: Path) -> None:
    embedded.stop(folder)
    servers = embedded.start(folder)
    assert query(servers, "SHOW fsync") == "on"
    assert query(servers, "SHOW full_page_writes") == "on"


def test_a_second_start_adopts_what_runs(folder: Path) -> None:
    first = embedded.start(folder, fast=True)
    before = pids(folder)
    assert embedded.start(folder, fast=True) == first
    assert pids(folder) == before


def test_starts_at_the_same_moment_share_one_pair_of_servers(folder: Path) -> None:
    found: list[embedded.Servers] = []
    threads = [
        threading.Thread(target=lambda: found.append(embedded.start(folder, fast=True)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 3
    assert len(set(found)) == 1


def test_data_survives_a_stop_and_the_servers_do_not(folder: Path) -> None:
    first = embedded.start(folder, fast=True)
    with psycopg.connect(libpq(first)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 41 AS number")
    running = pids(folder)
    embedded.stop(folder)
    assert all(gone(pid) for pid in running)
    again = embedded.start(folder, fast=True)
    assert again == first
    assert query(again, "SELECT number FROM kept") == 41


def test_killed_servers_are_replaced_and_committed_data_is_there(folder: Path) -> None:
    embedded.stop(folder)
    servers = embedded.start(folder)
    with psycopg.connect(libpq(servers)) as connection:
        connection.execute("CREATE TABLE survivor AS SELECT 42 AS number")
    before = pids(folder)
    for pid in before:
        psutil.Process(pid).kill()
    servers = embedded.start(folder)
    assert query(servers, "SELECT number FROM survivor") == 42
    with broker(servers) as client:
        assert client.ping()
    assert not set(pids(folder)) & set(before)


def test_a_hung_valkey_is_replaced(folder: Path) -> None:
    embedded.start(folder, fast=True)
    hung = pids(folder)[1]
    psutil.Process(hung).suspend()
    servers = embedded.start(folder, fast=True)
    with broker(servers) as client:
        assert client.ping()
    assert pids(folder)[1] != hung


def test_a_stale_pid_file_that_names_a_strangers_process_harms_nobody(folder: Path) -> None:
    embedded.start(folder, fast=True)
    embedded.stop(folder)
    stranger = psutil.Popen(["sleep", "60"])
    try:
        files = cluster(folder).data / "postmaster.pid", folder / "valkey" / "server.pid"
        for file in files:
            file.write_text(f"{stranger.pid}\n")
        servers = embedded.start(folder, fast=True)
        assert query(servers, "SELECT 1") == 1
        embedded.stop(folder)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_initialisation_that_was_cut_off_is_done_again(damaged_folder: Path) -> None:
    embedded.start(damaged_folder, fast=True)
    embedded.stop(damaged_folder)
    home = cluster(damaged_folder).home
    shutil.rmtree(home / "data" / "base")
    (home / "data").rename(home / "data.new")
    assert query(embedded.start(damaged_folder, fast=True), "SELECT 1") == 1


def test_a_taken_port_is_left_to_its_user(folder: Path) -> None:
    first = embedded.start(folder, fast=True)
    embedded.stop(folder)
    state = State.load(folder)
    assert state is not None
    with socket.create_server(("127.0.0.1", state.database_port)):
        second = embedded.start(folder, fast=True)
        assert second.database_url != first.database_url
        assert query(second, "SELECT 1") == 1


def test_a_server_that_cannot_start_says_why(damaged_folder: Path) -> None:
    embedded.start(damaged_folder, fast=True)
    embedded.stop(damaged_folder)
    (cluster(damaged_folder).data / "PG_VERSION").write_text("9\n")
    with pytest.raises(Unavailable, match="incompatible with server"):
        embedded.start(damaged_folder, fast=True)
    embedded.remove(damaged_folder)


def test_passwords_are_kept_for_their_owner_only_and_in_no_argument(folder: Path) -> None:
    servers = embedded.start(folder, fast=True)
    file = folder / "embedded.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cluster(folder).data.stat().st_mode) & 0o077 == 0
    state = State.load(folder)
    assert state is not None
    assert state.database_password in servers.database_url
    arguments = " ".join(" ".join(psutil.Process(pid).cmdline()) for pid in pids(folder))
    assert state.database_password not in arguments
    assert state.broker_password not in arguments
    assert state.database_password not in repr(state)


def test_stop_without_servers_does_nothing(tmp_path: Path) -> None:
    embedded.stop(tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_missing_wheel_is_named(folder: Path) -> None:
    from repick.embedded.account import wheel_folder

    with pytest.raises(Unavailable, match="repick\\[embedded\\]") as caught:
        wheel_folder("no_such_wheel", "no-such-wheel")
    assert caught.value.code == "embedded_missing"
