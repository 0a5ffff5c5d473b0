"""Processes by pid and start time (a recycled pid is never taken for ours), logs, free ports."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

_START_TOLERANCE_S = 2.0
"""A start time is computed from the boot time, which moves a little when the clock is set."""


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """One run of one process; `started` is in seconds since the epoch."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessMark:
        """The mark of a live process.

        Raises:
            psutil.NoSuchProcess: no such process is running.
        """
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process, if it is still this one and not a zombie."""
        found = alive(self.pid)
        try:
            same = found and abs(found.create_time() - self.started) <= _START_TOLERANCE_S
        except psutil.NoSuchProcess:
            return None
        return found if same else None


def alive(pid: int) -> psutil.Process | None:
    """The process with this pid, unless it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
    except (psutil.NoSuchProcess, ValueError):
        return None
    return process if runs(process) else None


def works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether a process has `folder` as its working folder, as a server has its own data folder."""
    try:
        return Path(process.cwd()).resolve() == folder.resolve()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def runs(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie does not (not every init reaps orphans at once)."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(processes: Iterable[psutil.Process], grace_s: float) -> None:
    """SIGTERM to all, SIGKILL after `grace_s` seconds to those that remain; returns when gone."""
    left = [process for process in processes if runs(process)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in (left := _outlasting(left, grace_s)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _outlasting(left, 10)


def _outlasting(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after so long; returns as soon as none does."""
    deadline = time.monotonic() + seconds
    while (left := [p for p in processes if runs(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def free_port(preferred: int = 0) -> int:
    """`preferred` if nothing on loopback uses it, otherwise any free TCP port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise OSError("no free TCP port on 127.0.0.1")


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error's message; empty where there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
