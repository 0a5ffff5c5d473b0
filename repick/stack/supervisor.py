"""Child processes: started in order, restarted when they end, stopped together.

One thread starts every child and lives as long as the supervisor, because a child is told of the
death of the thread that forked it (see `child.py`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from repick.embedded.state import write_private
from repick.errors import Unavailable
from repick.processes import ProcessMark, runs
from repick.stack.output import Printer, Tail

_WRAPPER = Path(__file__).with_name("child.py")
_POLL_S = 0.1
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0
_SETTLED_S = 60.0
"""A child that ran for so long has recovered: the next restart is quick again."""
_HOPELESS = 4
"""So many ends in a row before the stack was ever ready: it is not going to be."""


@dataclass(frozen=True, slots=True)
class Service:
    """A command to keep running; `name` is its prefix in the logs.

    The higher its `niceness`, the more it leaves to others that want the same cores.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    niceness: int = 0


@dataclass(slots=True)
class _Child:
    service: Service
    process: subprocess.Popen[bytes] | None = None
    tail: Tail | None = None
    started: float = 0.0
    ends: int = 0
    next_start: float = 0.0


def child_command(command: Sequence[str], niceness: int) -> list[str]:
    """What becomes the command, as a child of the thread that starts it (`child.py`)."""
    wrapper = [sys.executable, "-I", "-S", str(_WRAPPER), str(os.getpid()), str(niceness)]
    return [*wrapper, *command]


class Supervisor:
    """Keeps services running from `start` until `stop`; `data_dir` takes logs and the pid file."""

    def __init__(self, services: Sequence[Service], data_dir: Path, printer: Printer) -> None:
        self._children = [_Child(service) for service in services]
        self._record = data_dir / "stack.json"
        self._logs = data_dir / "logs"
        self._printer = printer
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="supervisor")
        self._failure: BaseException | None = None

    def start(self) -> None:
        """End what a killed supervisor of this folder left, and start all services in order."""
        end_leftovers(self._record)
        self._logs.mkdir(mode=0o700, exist_ok=True)
        self._thread.start()

    def check(self) -> None:
        """Raise while the stack gets ready and cannot.

        Raises:
            Unavailable: a service ends again and again (its last lines are in the message), or the
                supervisor itself failed.
        """
        if self._failure is not None:
            raise Unavailable(f"the supervisor failed: {self._failure}") from self._failure
        for child in self._children:
            if child.ends >= _HOPELESS:
                last = "\n".join(child.tail.last) if child.tail else ""
                raise Unavailable(f"{child.service.name} does not start:\n{last}")

    def stop(self, grace_s: float = 35.0) -> None:
        """SIGTERM to all, SIGKILL after the grace to those that remain, with their children."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        running = [c.process for c in self._children if c.process and c.process.poll() is None]
        for process in reversed(running):
            process.terminate()
        deadline = time.monotonic() + grace_s
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._printer.line("repick", f"process {process.pid} did not stop and is killed")
        for child in self._children:
            _finish(child)
        self._record.unlink(missing_ok=True)

    def _supervise(self) -> None:
        try:
            while not self._stopping.wait(_POLL_S):
                for child in self._children:
                    self._tend(child)
        except (OSError, psutil.Error) as exc:
            self._failure = exc

    def _tend(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.next_start and not self._stopping.is_set():
                self._spawn(child)
            return
        code = child.process.poll()
        if code is None:
            return
        child.ends = 1 if now - child.started > _SETTLED_S else child.ends + 1
        delay = min(_FIRST_DELAY_S * 2 ** (child.ends - 1), _LONGEST_DELAY_S)
        _finish(child)
        child.next_start = now + delay
        name = child.service.name
        self._printer.line("repick", f"{name} ended ({_ending(code)}); again in {delay:g} s")

    def _spawn(self, child: _Child) -> None:
        service = child.service
        child.process = subprocess.Popen(
            child_command(service.command, service.niceness),
            env={**os.environ, **self._printer.environment, **service.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops in order
        )
        self._write_record()
        child.started = time.monotonic()
        assert child.process.stdout is not None
        log = self._logs / f"{service.name}.log"
        child.tail = Tail(service.name, child.process.stdout, log, self._printer)
        child.tail.start()

    def _write_record(self) -> None:
        pids = [c.process.pid for c in self._children if c.process and c.process.poll() is None]
        marks = []
        for pid in pids:
            try:
                marks.append(asdict(ProcessMark.of(pid)))
            except psutil.NoSuchProcess:
                continue
        write_private(self._record, json.dumps(marks))


def end_leftovers(record: Path) -> None:
    """Kill the children that a killed supervisor left, by pid and start time."""
    try:
        marks = [ProcessMark(**mark) for mark in json.loads(record.read_text())]
    except FileNotFoundError:
        return
    except (ValueError, TypeError) as exc:
        raise Unavailable(f"{record} is damaged: {exc}") from exc
    left = [process for mark in marks if (process := mark.process())]
    for process in left:
        _kill_group(process.pid)
    deadline = time.monotonic() + 10
    while any(runs(process) for process in left) and time.monotonic() < deadline:
        time.sleep(0.02)
    record.unlink()


def _finish(child: _Child) -> None:
    """Reap an ended or hung child, with whatever it started itself."""
    if child.process is not None:
        _kill_group(child.process.pid)
        child.process.wait()
        child.process = None
    if child.tail is not None:
        child.tail.join(5)


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
