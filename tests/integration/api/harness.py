"""What the tests of the API share: a tenant's client, a server in a thread, a finished job."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import redis
import uvicorn
from sqlalchemy import text

from api.app import create_app
from repick.content.fetch import ImageFetcher
from repick.jobs import PairScore, Stage
from repick.ranking import Candidate, Order
from repick.settings import Settings
from repick.specs import EncoderSpec, LengthPolicy, Readout, ScorerSpec
from repick.store import ledger, rankings, registry, slices
from repick.store.database import Database
from repick.store.ledger import OpenPair
from repick.store.rankings import Ask

ENCODER = EncoderSpec("clip-tiny", "clip", "a" * 64, "b" * 64, 4, untrained=True)
SCORER = ScorerSpec("qwen-tiny", "qwen2_5_vl", "c" * 64, "d" * 64, untrained=True)
SCORERS = (
    replace(SCORER, readout=Readout.PAPER),
    replace(SCORER, length_policy=LengthPolicy.TRUNCATE),
    SCORER,
)
COUNTED = ("corpus", "item", "content", "media", "job", "job_query", "slice", "idempotency")


@dataclass(frozen=True)
class Tenant:
    """A tenant of one test: an HTTP client with its key, and what the database holds of it."""

    id: int
    key: str
    http: httpx.Client
    database: Database
    settings: Settings

    def rows(self) -> Mapping[str, int]:
        with self.database.begin() as connection:
            return {
                table: connection.execute(
                    text(f"SELECT count(*) FROM {table} WHERE tenant_id = :tenant"),
                    {"tenant": self.id},
                ).scalar_one()
                for table in COUNTED
            }

    def media_files(self) -> list[Path]:
        folder = self.settings.media_folder / str(self.id)
        return [path for path in folder.rglob("*") if path.is_file()]


@contextmanager
def serving(settings: Settings, fetcher: ImageFetcher | None = None) -> Iterator[str]:
    """The API in a thread; its address."""
    config = uvicorn.Config(
        create_app(settings, fetcher),
        host="127.0.0.1",
        port=settings.api_port,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            assert time.monotonic() < deadline, "the API did not start in time"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{settings.api_port}"
    finally:
        server.should_exit = True
        thread.join()


def published(broker: redis.Redis, queue: str, argument: object, count: int = 1) -> int:
    """How many messages with this one argument are on the queue, once there are `count`: they are
    sent after the answer, and other tests' are on the queue too."""

    def sent() -> int:
        waiting: Any = broker.lrange(queue, 0, -1)
        bodies = [json.loads(base64.b64decode(json.loads(one)["body"])) for one in waiting]
        return sum(args == [argument] for args, *_ in bodies)

    deadline = time.monotonic() + 10
    while (found := sent()) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


NewTenant = Callable[..., Tenant]


def problem(response: httpx.Response) -> tuple[int, str]:
    """(status, code) of an error answer, which is a problem of the documented form."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["x-request-id"]
    assert set(body) >= {"type", "title", "detail", "code"}
    return response.status_code, body["code"]


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def submit(tenant: Tenant, **body: Any) -> dict[str, Any]:
    """An accepted job over the corpus `things`."""
    response = tenant.http.post("/v1/jobs", json={"corpus": "things"} | body)
    assert response.status_code == 202, response.text
    value: dict[str, Any] = response.json()
    return value


def finish(tenant: Tenant, job_id: str, hits: Sequence[str] = ("cup", "dog")) -> None:
    """What workers do to a job, without models: every query ranks `hits`, then it succeeds."""
    with tenant.database.begin() as connection:
        job = UUID(job_id)
        held = slices.claim(connection, job, Stage.RETRIEVE, "test", timedelta(seconds=30))
        assert held is not None
        count, k = connection.execute(
            text("SELECT query_count, k FROM job WHERE id = :id"), {"id": job}
        ).one()
        places = [_candidate(no, name) for no, name in enumerate(hits, start=1)]
        for query in range(count):
            ask = Ask(k, Readout.CHOICE, Order(k))
            rankings.write(connection, held, query, ask, places, places[::-1])
        connection.execute(
            text("UPDATE job SET state = 'succeeded', finished_at = now() WHERE id = :id"),
            {"id": job},
        )


def score(tenant: Tenant, job_id: str, document: str, pair: PairScore) -> None:
    """Put a pair of the job's first query and a text into the ledger, as a worker would."""
    with tenant.database.begin() as connection:
        found = connection.execute(
            text(
                "SELECT q.content_id AS query, c.id AS document, job.scorer_id FROM job"
                " JOIN job_query q ON q.job_id = job.id AND q.query_no = 0"
                " JOIN content c ON c.tenant_id = job.tenant_id AND c.text = :document"
                " WHERE job.id = :job"
            ),
            {"job": job_id, "document": document},
        ).one()
        provenance = registry.put_provenance(connection, {"device": "test"})
        one = OpenPair(0, found.query, found.document)
        ledger.insert_scores(connection, tenant.id, found.scorer_id, {one: pair}, provenance)


def _candidate(no: int, name: str) -> Candidate:
    return Candidate(no, name, no, no, 1 / no, 0.5, 0.1 * no, 0.9, 1.5, (None,))
