"""A client that writes down what was promised to it, and asks again where an answer was lost."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.chaos.function import POISON
from repick.errors import Unavailable

CORPUS = "chaos"
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Accepted:
    id: str
    key: str
    query: str
    fate: str
    """`succeed`, `poisoned` or `cancelled`."""


class Client:
    """Speaks HTTP to an API that dies; not to be shared by threads."""

    def __init__(self, url: str, key: str, ledger: Path) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False)
        self._ledger = ledger
        self.accepted: list[Accepted] = []

    def load(self, documents: list[str]) -> None:
        """A corpus of these texts, each its own id, every one embedded."""
        self.ask("POST", "/v1/corpora", {"name": CORPUS}, also=409)  # an answer was lost
        items = [{"id": one, "text": one} for one in documents]
        self.ask("PUT", f"/v1/corpora/{CORPUS}/items", {"items": items})
        deadline = time.monotonic() + PATIENCE_S
        while self.ask("GET", f"/v1/corpora/{CORPUS}")["embedded"] < len(documents):
            if time.monotonic() > deadline:
                raise Unavailable("the corpus was not embedded")
            time.sleep(0.1)

    def submit(self, query: str, k: int, fate: str) -> Accepted:
        """Submit until it is certain: the same key again after any answer that was lost."""
        body = {"corpus": CORPUS, "query": {"text": query}, "k": k, "scorer": "chaos-scorer"}
        key = query.replace(" ", "-")
        answer = self.ask("POST", "/v1/jobs", body, key=key)
        one = Accepted(str(answer["id"]), key, query, fate)
        with self._ledger.open("a") as file:
            file.write(json.dumps([one.id, one.key, one.fate]) + "\n")
        self.accepted.append(one)
        return one

    def cancel(self, one: Accepted) -> None:
        # Too late, or its answer was lost.
        self.ask("POST", f"/v1/jobs/{one.id}/cancel", {}, also=409)

    def ask(self, method: str, path: str, body: Any = None, key: str = "", also: int = 200) -> Any:
        """The answer, however often it must be asked for; `also` is a status that will do, too.

        Raises Unavailable on a refusal.
        """
        deadline = time.monotonic() + PATIENCE_S
        headers = {"Idempotency-Key": key} if key else {}
        while time.monotonic() < deadline:
            try:
                answer = self._http.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if answer.is_success or answer.status_code == also:
                return answer.json()
            if answer.status_code not in (429, 500, 502, 503, 504):
                raise Unavailable(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            time.sleep(0.2)
        raise Unavailable(f"{method} {path}: no answer within {PATIENCE_S:g} s")

    def close(self) -> None:
        self._http.close()


@dataclass(frozen=True, slots=True)
class Load:
    """`jobs` submitted evenly over `seconds`; a few poisoned, a few cancelled."""

    jobs: int
    k: int
    seconds: float
    seed: int
    poisoned: int = 1
    cancelled: int = 3


def submit_all(client: Client, load: Load, stopping: threading.Event) -> None:
    chosen = random.Random(load.seed).sample(range(load.jobs), load.poisoned + load.cancelled)
    started = time.monotonic()
    for number in range(load.jobs):
        if stopping.wait(max(0, started + number * load.seconds / load.jobs - time.monotonic())):
            return
        poisoned, cancelled = chosen[: load.poisoned], chosen[load.poisoned :]
        if number in poisoned:
            client.submit(f"{POISON} {load.seed} {number}", load.k, "poisoned")
            continue
        fate = "cancelled" if number in cancelled else "succeed"
        one = client.submit(f"query {load.seed} {number}", load.k, fate)
        if fate == "cancelled":
            client.cancel(one)
