"""Messages that nobody of ours sent, to real workers: nothing happens, and they work on."""

from __future__ import annotations

import base64
import json
import pickle
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import text

from repick.store.database import Database
from tests import rows
from tests.acceptance.stack import Stack, Tenant, until

pytestmark = pytest.mark.acceptance

COARSE, FINE = "coarse.clip-tiny-untrained", "fine.qwen2.5-vl-tiny-untrained"
ITEMS = [{"id": name, "text": f"a {name}"} for name in ("cup", "dog", "tree")]
TASKS = {"repick.retrieve": COARSE, "repick.rank": COARSE, "repick.score": FINE}


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def message(task: Any, body: bytes, content_type: str = "application/json") -> bytes:
    """As kombu writes a message into Redis."""
    marks = {"correlation_id": str(uuid.uuid4()), "delivery_tag": str(uuid.uuid4())}
    where = {"delivery_info": {"exchange": "", "routing_key": ""}, "delivery_mode": 2}
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "binary" if "python" in content_type else "utf-8",
            "content-type": content_type,
            "headers": {"lang": "py", "task": task, "id": marks["correlation_id"]},
            "properties": {**marks, **where, "priority": 0, "body_encoding": "base64"},
        }
    ).encode()


def call(task: str, *args: Any, **kwargs: Any) -> bytes:
    return message(task, json.dumps([args, kwargs, {}]).encode())


def forged(queue: str, canary: Path, jobs: list[str]) -> Iterator[bytes]:
    """What somebody who can write into the broker might send to a queue."""
    tasks = [task for task, where in TASKS.items() if where == queue]
    pickled = pickle.dumps([[Canary(canary)], {}, {}])
    for kind in ("application/x-python-serialize", "application/json", "text/plain"):
        yield message(tasks[0], pickled, kind)
    yield message(tasks[0], b"a: !!python/object/apply:os.system [true]", "application/x-yaml")
    yield from (call(name, "true") for name in ("os.system", "repick.nothing", "celery.chain"))
    for task in tasks:
        for job in jobs:
            yield call(task, job)
            yield call(task, job, "and another")
            yield call(task, job, tenant_id=1)
            yield call(task, job=job, tenant=1)
        yield message(task, json.dumps([[jobs[1]], {}, {"callbacks": [{"task": task}]}]).encode())
        for value in ("../../etc/passwd", "", None, 5, [], {"job": jobs[0]}, "1" * 100_000):
            yield call(task, value)
        yield message(task, b"[[")
        yield message(task, b"5")
        yield message(task, b"[1, 2]")
    yield message([tasks[0]], b"[[], {}, {}]")
    yield message({}, b"[[], {}, {}]")
    yield call(tasks[0], jobs[1]).replace(b'"id": "', b'"di": "')
    yield call(tasks[0], jobs[1]).replace(b'"lang": "py"', b'"eta": "2999-01-01T00:00:00"')
    if queue == COARSE:
        for space in (-1, 2**70, "1; DROP TABLE item", None, [1]):
            yield call("repick.embed", space)


@pytest.fixture(scope="module")
def finished(stack: Stack) -> Mapping[int, list[str]]:
    """Two tenants, each with a job that succeeded and one that was cancelled, by their ids."""
    return {owner: jobs for name in ("one", "two") for owner, jobs in [_tenant(stack, name)]}


def _tenant(stack: Stack, name: str) -> tuple[int, list[str]]:
    tenant = stack.client(name)
    tenant.load("demo", ITEMS)
    jobs = [ask(tenant, f"of {name}") for _ in range(2)]
    assert tenant.finished(jobs[0])["state"] == "succeeded"
    tenant.finished(jobs[1])
    late = tenant.submit(corpus="demo", query={"text": "no more"}, k=3)
    tenant.http.post(f"/v1/jobs/{late}/cancel")
    tenant.finished(late)
    database = Database(stack.environment["REPICK_DATABASE_URL"])
    with database.begin() as connection:
        found = text("SELECT id FROM tenant WHERE name = :name")
        owner = connection.execute(found, {"name": name}).scalar_one()
    database.close()
    return owner, [*jobs, late]


def ask(tenant: Tenant, query: str) -> str:
    return tenant.submit(corpus="demo", query={"text": query}, k=3)


def everything(stack: Stack, owners: Mapping[int, list[str]]) -> Mapping[int, Mapping[str, Any]]:
    database = Database(stack.environment["REPICK_DATABASE_URL"])
    try:
        with database.begin() as connection:
            return {owner: rows.of_tenant(connection, owner) for owner in owners}
    finally:
        database.close()


@pytest.mark.parametrize(("queue", "worker"), [(COARSE, "coarse"), (FINE, "fine-1")])
def test_forged_messages_do_nothing_and_the_worker_goes_on(
    queue: str, worker: str, stack: Stack, finished: Mapping[int, list[str]], tmp_path: Path
) -> None:
    process, canary = stack.processes[worker].pid, tmp_path / "canary"
    jobs = [str(uuid.uuid4()), *(job for owned in finished.values() for job in owned)]
    before = everything(stack, finished)
    assert all(before[owner]["ranking"] for owner in finished)
    sent = list(forged(queue, canary, jobs))
    with redis.Redis.from_url(stack.environment["REPICK_BROKER_URL"]) as broker:
        killed = set(broker.hkeys("unacked"))  # what workers of other tests had when they were
        broker.lpush(queue, *sent)
        until(lambda: not broker.llen(queue), 120, "the forged messages to be taken")
        until(
            lambda: set(broker.hkeys("unacked")) <= killed,
            120,
            "the forged messages to be dealt with",
        )
    assert everything(stack, finished) == before
    assert not canary.exists()
    later = stack.client("later")
    if worker == "coarse":
        later.load("demo", ITEMS)
    assert later.finished(ask(later, f"after those to {worker}"))["state"] == "succeeded"
    assert stack.processes[worker].poll() is None
    assert stack.processes[worker].pid == process
