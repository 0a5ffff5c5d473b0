"""From nothing to a running stack: servers, schema, models, keys, processes, and back again."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from repick import embedded
from repick.embedded.state import locked, write_private
from repick.errors import Unavailable
from repick.processes import free_port
from repick.settings import Settings
from repick.stack.addresses import Addresses
from repick.stack.interrupt import Interrupted, Interruptions
from repick.stack.output import Printer
from repick.stack.ready import missing
from repick.stack.services import environment, local_secrets, services
from repick.stack.supervisor import Supervisor

_READY_TIMEOUT_S = 900.0
"""A large checkpoint takes minutes to load; a process that cannot start is found much sooner."""

OnReady = Callable[[Addresses], int | None]


def run_stack(settings: Settings, *, on_ready: OnReady | None = None, quiet: bool = False) -> int:
    """Run everything until it is told to stop; returns the exit code.

    With a database and a broker in the settings those are used, and left running at the end;
    otherwise embedded servers in `settings.data_dir` are started, or adopted, and stopped.
    `on_ready` is called in the main thread once every part answers: an int from it stops the stack
    and is the exit code, None leaves the stack in the foreground until SIGINT, SIGTERM or SIGHUP.
    `quiet` keeps the logs off the terminal; they are always in `data_dir/logs`.
    """
    console = Console(stderr=True)
    printer = Printer(console, quiet=quiet)
    signals = Interruptions()
    folder = settings.data_dir.resolve()
    try:
        with signals.handled(), _sole_user(folder), _servers(settings, folder) as servers:
            return _run(settings, folder, servers, signals, printer, on_ready)
    except Interrupted as exc:
        return exc.exit_code
    except Unavailable as exc:
        console.print(f"[bold red]error:[/bold red] {exc.detail}", highlight=False)
        return 1


@contextmanager
def _sole_user(folder: Path) -> Iterator[None]:
    """Hold the data folder against a second stack."""
    with locked(folder):
        lock_file = folder / "stack.lock"
    with lock_file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Unavailable(f"another stack is running in {folder}") from exc
        yield


@contextmanager
def _servers(settings: Settings, folder: Path) -> Iterator[embedded.Servers]:
    given = bool(settings.database_url), bool(settings.broker_url)
    if all(given):
        yield embedded.Servers(settings.database_url, settings.broker_url)
        return
    if any(given):
        raise Unavailable("set both REPICK_DATABASE_URL and REPICK_BROKER_URL, or neither")
    try:
        yield embedded.start(folder)
    finally:
        embedded.stop(folder)


def _run(
    settings: Settings,
    folder: Path,
    servers: embedded.Servers,
    signals: Interruptions,
    printer: Printer,
    on_ready: OnReady | None,
) -> int:
    from repick.store.database import migrate
    from repick.store.keys import ensure_local_key

    with signals.allowed(), printer.step("migrating the database"):
        migrate(servers.database_url)
        key = ensure_local_key(servers.database_url, folder / "api-key")
    secrets = local_secrets(settings, folder)
    addresses = Addresses(
        api_url=f"http://{_reachable(settings.api_host)}:{free_port(settings.api_port)}",
        api_key=key,
        api_key_file=folder / "api-key",
        flower_url=f"http://127.0.0.1:{free_port(settings.flower_port)}",
        flower_password=secrets.flower_password,
        database_url=servers.database_url,
        broker_url=servers.broker_url,
        data_dir=folder,
    )
    with signals.allowed(), printer.step("looking for models"):
        demo = _demo_models(settings, folder / "models")
    variables = environment(settings, addresses, secrets, demo)
    supervisor = Supervisor(services(variables), folder, printer)
    try:
        supervisor.start()
        with signals.allowed():
            with printer.step("waiting for API, workers and Flower"):
                _wait(supervisor, addresses)
            write_private(folder / "api-url", addresses.api_url)
            if not printer.quiet:
                addresses.introduce(printer.console)
            code = on_ready(addresses) if on_ready else None
            return code if code is not None else _foreground()
    finally:
        (folder / "api-url").unlink(missing_ok=True)
        with printer.step("stopping"):
            supervisor.stop()


def _reachable(host: str) -> str:
    """Where a server that listens on `host` answers on this machine."""
    return "127.0.0.1" if host in {"", "0.0.0.0", "::"} else host  # noqa: S104


def _demo_models(settings: Settings, folder: Path) -> dict[str, object]:
    """The settings of the demo's models, which may be written below `folder`; none if not needed.

    Another process looks: it may need the model libraries, and this one never does.
    """
    if settings.encoder and settings.scorer:
        return {}
    command = [sys.executable, "-m", "demo.models", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"the demo's models cannot be used: {done.stderr[-2000:].strip()}")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _wait(supervisor: Supervisor, addresses: Addresses) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while waiting := missing(addresses):
        supervisor.check()
        if time.monotonic() > deadline:
            raise Unavailable(f"not ready after {_READY_TIMEOUT_S:g} s: {', '.join(waiting)}")
        time.sleep(0.2)


def _foreground() -> int:
    """Wait for a signal; being stopped is how a stack in the foreground ends well."""
    try:
        while True:
            time.sleep(3600)
    except Interrupted:
        return 0
