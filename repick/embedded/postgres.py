"""One Postgres cluster, driven by the wheel's own initdb and pg_ctl; loopback with a password."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
from psycopg import pq

from repick.embedded.account import Account, PopenArguments, place
from repick.embedded.state import State, write_private
from repick.errors import Unavailable
from repick.processes import alive, end, free_port, tail, works_in

USER = "repick"
"""The superuser, and the database of the same name."""
_START_TIMEOUT_S = 60
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "512MB",
    "max_connections": "100",
    # /dev/shm has only 64 MB in a container, too little for the parallel build of an HNSW index.
    "dynamic_shared_memory_type": "mmap",
    # A corpus that is being loaded outgrows what the planner knew of its tables within seconds.
    "autovacuum_naptime": "5s",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Cluster:
    """`home` holds the cluster (`data`) and its log, and belongs to the user that runs it."""

    home: Path
    binaries: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    def run(self, tool: str, *args: str, password: str = "") -> str:
        """Run one of the wheel's tools as the cluster's user.

        Raises:
            Unavailable: it failed; its output and the server's last log lines are the message.
        """
        command = [str(self.binaries / tool), *args]
        # PG* variables of the caller would change what the tools do.
        env = {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(self.home), "PGPASSWORD": password}
        as_user = self.account.popen_arguments() if self.account else PopenArguments()
        with tempfile.TemporaryFile() as output:  # not a pipe: the server would hold it open
            try:
                code = subprocess.run(
                    command,
                    cwd=self.home,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                    **as_user,
                ).returncode
            except OSError as exc:
                raise Unavailable(f"cannot run Postgres's {tool}: {exc}") from exc
            output.seek(0)
            text = output.read().decode(errors="replace").strip()
        if code:
            raise Unavailable(f"Postgres's {tool} failed: {text}\n{tail(self.log)}".strip())
        return text

    def postmaster(self) -> tuple[psutil.Process, int] | None:
        """The live server of this cluster and its port (0 while it is not known yet)."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        process = alive(int(lines[0])) if lines and lines[0].isdigit() else None
        if process is None or not works_in(process, self.data):
            return None
        return process, int(lines[3]) if len(lines) > 3 and lines[3].isdigit() else 0


def locate(data_dir: Path, key: str) -> Cluster:
    """Where the cluster of a data folder lives and who runs it; see `account.place`.

    Raises:
        Unavailable: the wheel is not installed, or root has no other user to run Postgres as.
    """
    home, binaries, account = place(data_dir, key)
    return Cluster(home, binaries, account)


def start(cluster: Cluster, state: State, *, fast: bool) -> int:
    """The port on which the cluster's server answers: the one that runs, or a new one's.

    Raises:
        Unavailable: it does not start.
    """
    running = cluster.postmaster()
    if running and running[1] and _answers(running[1]):
        return running[1]
    _clear(cluster)
    if not cluster.data.exists():
        _initialise(cluster, state.database_password, sync=not fast)
    port = free_port(state.database_port)
    settings = {**_SETTINGS, **(_FAST if fast else {}), "port": str(port)}
    options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
    if cluster.log.exists():
        cluster.log.replace(cluster.log.with_suffix(".log.1"))
    control = ["-D", str(cluster.data), "-l", str(cluster.log), "-w", "-t", str(_START_TIMEOUT_S)]
    cluster.run("pg_ctl", "start", *control, "-o", options)
    _create_database(cluster, state.database_password, port)
    return port


def stop(cluster: Cluster) -> None:
    """A clean shutdown that ends open connections; leftovers of an unclean one are ended too."""
    if cluster.postmaster():
        cluster.run("pg_ctl", "stop", "-D", str(cluster.data), "-m", "fast", "-w", "-t", "60")
    elif cluster.data.exists():
        _clear(cluster)


def _answers(port: int) -> bool:
    status = pq.PGconn.ping(f"host=127.0.0.1 port={port} connect_timeout=3".encode())
    return status == pq.Ping.OK


def _clear(cluster: Cluster) -> None:
    """End what a killed server left: its children hold the cluster's shared memory, and its pid
    file may name a process that is by now somebody else's."""
    end([p for p in psutil.process_iter() if works_in(p, cluster.data)], grace_s=5)
    (cluster.data / "postmaster.pid").unlink(missing_ok=True)


def _initialise(cluster: Cluster, password: str, *, sync: bool) -> None:
    """A new cluster, complete or not there at all: it is made beside and renamed."""
    draft, secret = cluster.home / "data.new", cluster.home / "password.new"
    if draft.exists():
        shutil.rmtree(draft)
    write_private(secret, password)
    if cluster.account:
        os.chown(secret, cluster.account.uid, cluster.account.gid, follow_symlinks=False)
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    login = ["-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}"]
    try:
        extra = [] if sync else ["--no-sync"]
        cluster.run("initdb", "-D", str(draft), "--encoding=UTF8", *locale, *login, *extra)
    finally:
        secret.unlink()
    draft.rename(cluster.data)


def _create_database(cluster: Cluster, password: str, port: int) -> None:
    try:
        where = ["-h", "127.0.0.1", "-p", str(port), "-U", USER]
        cluster.run("createdb", *where, USER, password=password)
    except Unavailable as exc:
        if f'database "{USER}" already exists' not in exc.detail:
            raise
