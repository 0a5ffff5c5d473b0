"""A client that submits until each job is accepted, and writes down what it was promised."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.chaos.function import POISON

CORPUS = "chaos"
_AGAIN_S = 0.3


@dataclass(slots=True)
class Client:
    """One thread that submits; `accepted` holds query texts by the id of the promised job."""

    url: str
    key: str
    jobs: int
    seconds: float
    documents: int
    seed: int
    record: Path
    poisoned: int = 1
    cancelled: int = 3
    accepted: dict[str, str] = field(default_factory=dict)
    asked_to_cancel: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def fill(self) -> None:
        """The corpus, and wait until all its items have vectors."""
        items = [{"id": f"d{no}", "text": document(no)} for no in range(self.documents)]
        with self._http() as http:
            http.post("/v1/corpora", json={"name": CORPUS}).raise_for_status()
            put = http.put(f"/v1/corpora/{CORPUS}/items", json={"items": items})
            put.raise_for_status()
            deadline = time.monotonic() + 60
            while http.get(f"/v1/corpora/{CORPUS}").json()["pending"]:
                if time.monotonic() > deadline:
                    raise TimeoutError("the corpus has no vectors after a minute")
                time.sleep(0.1)

    def run(self) -> None:
        """Submit all jobs, evenly over the time."""
        rng, started = random.Random(f"chaos/client/{self.seed}"), time.monotonic()
        special = rng.sample(range(self.jobs), self.poisoned + self.cancelled)
        poisoned, cancelled = set(special[: self.poisoned]), set(special[self.poisoned :])
        with self._http() as http:
            for no in range(self.jobs):
                due = started + no * self.seconds / self.jobs
                self._stopping.wait(max(0.0, due - time.monotonic()))
                query = f"{POISON if no in poisoned else 'query'} {no}"
                job = self._submit(http, no, query)
                if job and no in cancelled:
                    self._cancel(http, job)

    def _submit(self, http: httpx.Client, no: int, query: str) -> str | None:
        body = {"corpus": CORPUS, "query": {"text": query}, "k": self.documents}
        headers = {"Idempotency-Key": f"chaos-{self.seed}-{no}"}
        while not self._stopping.is_set():
            with contextlib.suppress(httpx.HTTPError):
                answer = http.post("/v1/jobs", json=body, headers=headers)
                if answer.status_code == 202:
                    job: str = answer.json()["id"]
                    self.accepted[job] = query
                    with self.record.open("a") as record:
                        record.write(f"{job}\t{query}\n")
                    return job
                if answer.status_code not in (429, 503):
                    self.refused.append(f"{answer.status_code} {answer.text[:200]}")
            self._stopping.wait(_AGAIN_S)
        return None

    def _cancel(self, http: httpx.Client, job: str) -> None:
        """Ask until an answer comes; 409 says that the job had ended."""
        while not self._stopping.is_set():
            with contextlib.suppress(httpx.HTTPError):
                answer = http.post(f"/v1/jobs/{job}/cancel")
                if answer.status_code in (200, 202, 204, 409):
                    self.asked_to_cancel.add(job)
                    return
            self._stopping.wait(_AGAIN_S)

    def stop(self) -> None:
        self._stopping.set()

    def _http(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=10, trust_env=False)


def document(no: int) -> str:
    return f"document {no}"
