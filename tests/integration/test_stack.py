"""The supervisor: restarts what ends, stops everything, and leaves no orphan behind."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from repick.errors import Unavailable
from repick.processes import ProcessMark, alive
from repick.settings import Settings
from repick.stack import child, run_stack
from repick.stack.output import Printer
from repick.stack.supervisor import Service, Supervisor, end_leftovers

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
FAILS = "import sys; sys.exit('no model here')"

Start = Callable[..., tuple[Supervisor, io.StringIO]]


def until(true: Callable[[], object], within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def service(name: str, code: str, **environment: str) -> Service:
    return Service(name, [sys.executable, "-c", code], environment)


def children(folder: Path) -> list[int]:
    """Process ids of the live children, as the pid file has them."""
    try:
        marks = json.loads((folder / "stack.json").read_text())
    except FileNotFoundError:
        return []
    return [mark["pid"] for mark in marks if alive(mark["pid"])]


def lines(folder: Path, name: str) -> list[str]:
    path = folder / "logs" / f"{name}.log"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Supervisor] = []

    def _start(*services: Service) -> tuple[Supervisor, io.StringIO]:
        screen = io.StringIO()
        supervisor = Supervisor(services, tmp_path, Printer(Console(file=screen), quiet=False))
        started.append(supervisor)
        supervisor.start()
        return supervisor, screen

    yield _start
    for supervisor in started:
        supervisor.stop(grace_s=0.2)


def test_each_line_is_printed_behind_its_process_and_kept_in_its_log(
    start: Start, tmp_path: Path
) -> None:
    _, screen = start(service("one", SLEEPS), service("two", "print('[b]x'); " + SLEEPS))
    until(lambda: lines(tmp_path, "one") and len(lines(tmp_path, "two")) == 2)
    until(lambda: screen.getvalue().count("│") == 3)
    assert "one     │ up" in screen.getvalue()
    assert "two     │ [b]x" in screen.getvalue()


def test_environment_reaches_the_child_and_not_its_arguments(start: Start, tmp_path: Path) -> None:
    start(service("one", "import os; print(os.environ['WORD']); " + SLEEPS, WORD="shibboleth"))
    until(lambda: "shibboleth" in lines(tmp_path, "one"))
    (pid,) = children(tmp_path)
    assert "shibboleth" not in " ".join(psutil.Process(pid).cmdline())


def test_a_killed_child_is_started_again(start: Start, tmp_path: Path) -> None:
    _, screen = start(service("one", SLEEPS))
    until(lambda: lines(tmp_path, "one"))
    (first,) = children(tmp_path)
    psutil.Process(first).kill()
    until(lambda: len(lines(tmp_path, "one")) == 2)
    assert children(tmp_path) != [first]
    assert "one ended (signal SIGKILL); again in 0.5 s" in screen.getvalue()


def test_a_child_that_cannot_start_is_an_error_with_its_last_words(
    start: Start, tmp_path: Path
) -> None:
    supervisor, _ = start(service("good", SLEEPS), service("bad", FAILS))

    with pytest.raises(Unavailable, match="bad does not start:\nno model here"):
        until(supervisor.check, within_s=30)


def test_stop_ends_every_child_even_one_that_ignores_sigterm(start: Start, tmp_path: Path) -> None:
    supervisor, _ = start(service("one", SLEEPS), service("two", STUBBORN))
    until(lambda: lines(tmp_path, "one") and lines(tmp_path, "two"))
    pids = children(tmp_path)
    assert len(pids) == 2
    supervisor.stop(grace_s=0.5)
    assert not [pid for pid in pids if alive(pid)]
    assert not (tmp_path / "stack.json").exists()


def test_a_service_is_as_nice_as_it_says(start: Start, tmp_path: Path) -> None:
    told = "import os; print(os.getpriority(os.PRIO_PROCESS, 0), flush=True); " + SLEEPS
    before = os.getpriority(os.PRIO_PROCESS, 0)
    polite = Service("polite", [sys.executable, "-c", told], {}, niceness=5)
    start(service("plain", told), polite)
    until(lambda: lines(tmp_path, "plain") and lines(tmp_path, "polite"))
    found = [lines(tmp_path, name)[0] for name in ("plain", "polite")]
    assert found == [str(before), str(min(19, before + 5))]


def test_stop_ends_grandchildren_too(start: Start, tmp_path: Path) -> None:
    parent = (
        "import subprocess, sys; "
        f"print(subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).pid, flush=True); " + SLEEPS
    )
    supervisor, _ = start(service("one", parent))
    until(lambda: lines(tmp_path, "one").count("up") == 2)
    grandchild = next(int(line) for line in lines(tmp_path, "one") if line != "up")
    supervisor.stop(grace_s=5)
    until(lambda: alive(grandchild) is None)


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a child of its parent's death"
)
def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from rich.console import Console; "
        "from repick.stack.output import Printer; "
        "from repick.stack.supervisor import Service, Supervisor; "
        f"one = Service('one', [sys.executable, '-c', {STUBBORN!r}], {{}}); "
        "Supervisor([one], Path(sys.argv[1]), Printer(Console(), quiet=True)).start(); "
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as supervisor:
        until(lambda: lines(tmp_path, "one"))
        (pid,) = children(tmp_path)
        supervisor.kill()
    until(lambda: alive(pid) is None)


def test_leftovers_of_a_killed_supervisor_are_ended_and_strangers_are_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLEEPS]
    quiet = {"stdout": subprocess.DEVNULL, "start_new_session": True}
    left, stranger = (subprocess.Popen(command, **quiet) for _ in range(2))  # type: ignore[call-overload]
    with left, stranger:
        recycled = ProcessMark(stranger.pid, ProcessMark.of(stranger.pid).started - 60)
        marks = [asdict(ProcessMark.of(left.pid)), asdict(recycled)]
        (tmp_path / "stack.json").write_text(json.dumps(marks))
        end_leftovers(tmp_path / "stack.json")
        assert left.wait(5) == -9
        assert stranger.poll() is None
        stranger.kill()
    assert not (tmp_path / "stack.json").exists()


def test_a_second_stack_in_one_data_folder_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    holder = (
        "import fcntl, sys, time; lock = open(sys.argv[1], 'a'); "
        "fcntl.flock(lock, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, str(tmp_path / "stack.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert run_stack(Settings(data_dir=tmp_path)) == 1
        process.kill()
    assert "another stack is running" in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "embedded.json").exists()


def test_one_server_given_without_the_other_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(
        data_dir=tmp_path, database_url="postgresql+psycopg://nowhere", broker_url=""
    )
    assert run_stack(settings) == 1
    assert "set both" in capfd.readouterr().err


def test_a_child_whose_supervisor_is_gone_does_not_begin() -> None:
    command = [sys.executable, child.__file__, str(os.getpid() + 100_000), "true"]
    assert subprocess.run(command, check=False).returncode == 1
