"""The real service as processes: API, coarse worker, fine workers, sweep and Flower."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from repick.processes import free_port
from repick.store.database import Database
from repick.store.keys import create_key, ensure_tenant

T = TypeVar("T")

COMMANDS = {
    "api": ["api"],
    "coarse": ["worker", "coarse"],
    "fine-1": ["tests.acceptance.gated"],
    "sweep": ["repick.sweep"],
    "flower": ["repick.flower"],
}


def until(ask: Callable[[], T], within_s: float, what: str) -> T:
    """The first true answer; fails loudly at the deadline."""
    deadline = time.monotonic() + within_s
    while True:
        if answer := ask():
            return answer
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s"
        time.sleep(0.02)


@dataclass
class Stack:
    """Processes by name, each with its log; every one can be killed and started again."""

    folder: Path
    environment: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    clients: list[httpx.Client] = field(default_factory=list)
    api_port: int = field(default_factory=free_port)
    flower_port: int = field(default_factory=free_port)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def flower_url(self) -> str:
        return f"http://127.0.0.1:{self.flower_port}"

    @property
    def gate(self) -> Path:
        return self.folder / "gate"

    def hold_after(self, pairs: int | None) -> None:
        """Let fine workers score so many pairs each from now on, and wait then; None: all."""
        if pairs is None:
            self.gate.unlink(missing_ok=True)
            return
        aside = self.folder / "gate.new"
        aside.write_text(str(pairs))
        aside.replace(self.gate)

    def start(self, *names: str) -> None:
        for name in names:
            with (self.folder / f"{name}.log").open("ab") as log:
                gate = [str(self.gate)] if name == "fine-1" else []
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", *COMMANDS[name], *gate],
                    env={**os.environ, **self.environment, **self._ports()},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def serving(self, name: str, since: int = 0) -> None:
        """Wait until a worker has loaded its model and says so."""

        def ready() -> bool:
            process = self.processes[name]
            assert process.poll() is None, f"{name} ended:\n{self.log(name)[-3000:]}"
            return "serving" in self.log(name)[since:]

        until(ready, 240, f"{name} serving")

    def client(self, tenant: str) -> Tenant:
        """A tenant with a key of its own."""
        database = Database(self.environment["REPICK_DATABASE_URL"])
        with database.begin() as connection:
            key = create_key(connection, ensure_tenant(connection, tenant), "acceptance")
        database.close()
        headers = {"Authorization": f"Bearer {key}"}
        http = httpx.Client(base_url=self.api_url, headers=headers, timeout=40, trust_env=False)
        self.clients.append(http)
        return Tenant(http)

    def _ports(self) -> dict[str, str]:
        ports = {"REPICK_API_PORT": self.api_port, "REPICK_FLOWER_PORT": self.flower_port}
        return {name: str(port) for name, port in ports.items()}


@dataclass(frozen=True)
class Tenant:
    """What a client of the API does, as plain HTTP."""

    http: httpx.Client

    def load(self, corpus: str, items: list[dict[str, Any]]) -> None:
        """Create a corpus, put its items and wait for their vectors."""
        assert self.http.post("/v1/corpora", json={"name": corpus}).status_code == 201
        answer = self.http.put(f"/v1/corpora/{corpus}/items", json={"items": items})
        assert answer.status_code == 200, answer.text
        assert answer.json()["failed"] == []
        until(lambda: self._embedded(corpus) == len(items), 240, f"embedding of {corpus}")

    def _embedded(self, corpus: str) -> int:
        return int(self.http.get(f"/v1/corpora/{corpus}").json()["embedded"])

    def submit(self, **job: Any) -> str:
        answer = self.http.post("/v1/jobs", json=job)
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
        return str(answer.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        answer = self.http.get(f"/v1/jobs/{job}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def finished(self, job: str, within_s: float = 240) -> dict[str, Any]:
        def ask() -> dict[str, Any] | None:
            view = self.job(job)
            return view if view["finished_at"] else None

        return until(ask, within_s, f"end of {job}")

    def scoring(self, job: str, pairs: int, within_s: float = 240) -> None:
        """Wait until so many pairs of a job are done."""
        until(lambda: self.job(job)["progress"]["pairs_done"] >= pairs, within_s, f"{pairs} pairs")
