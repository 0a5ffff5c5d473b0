"""Processes by pid and start time (a recycled pid is never taken for ours), logs, free ports."""

from __future__ import annotations

import contextlib
import socket
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
        if found is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            if abs(found.create_time() - self.started) <= _START_TOLERANCE_S:
                return found
        return None


def alive(pid: int) -> psutil.Process | None:
    """The process with this pid, unless it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except (psutil.NoSuchProcess, ValueError):
        return None


def works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether a process has `folder` as its working folder, as a server has its own data folder."""
    try:
        return Path(process.cwd()).resolve() == folder.resolve()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def end(processes: Iterable[psutil.Process], grace_s: float) -> None:
    """SIGTERM to all, SIGKILL after `grace_s` seconds to those that remain; returns when gone."""
    left = list(processes)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(left, timeout=grace_s)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)


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
