"""Readers of `latest` while runs end and are published one after another: always one whole run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import text

from repick import nightly
from repick.jobs import Slice, Stage
from repick.ranking import Candidate, Order
from repick.specs import Readout
from repick.store import rankings, runs, schedules, slices
from repick.store.rankings import Ask
from tests.integration.api.conftest import TLS
from tests.integration.api.harness import Tenant

QUERIES = [f"q{no:03}" for no in range(230)]
"""Three pages."""
READERS, RUNS, CHUNK = 3, 6, 50
PATIENCE_S = 60.0


@dataclass
class Readers:
    """Threads that read all of `latest` over and over, and what they found wrong."""

    tenant: Tenant
    marks: dict[str, str] = field(default_factory=dict)
    """The first hit of all of a run's rankings, by the run's id: known before it has any."""
    faults: list[str] = field(default_factory=list)
    whole: Counter[str] = field(default_factory=Counter)
    """How often each run was read to its end."""
    stopping: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    ended: int = 0

    def read(self) -> None:
        try:
            self._read()
        finally:
            with self.changed:
                self.ended += 1
                self.changed.notify_all()

    def _read(self) -> None:
        headers, last = {"Authorization": f"Bearer {self.tenant.key}"}, ""
        base = str(self.tenant.http.base_url)
        with httpx.Client(base_url=base, headers=headers, timeout=30, verify=TLS) as http:
            while not self.stopping.is_set():
                run, found = read_latest(http)
                wrong = faults(run, found, self.marks.get(run["id"]))
                if run["tick"] < last:
                    wrong.append(f"went back from {last} to {run['tick']}")
                last = run["tick"]
                with self.changed:
                    self.faults += wrong
                    self.whole[run["id"]] += 1
                    self.changed.notify_all()

    def seen(self, run: str, times: int) -> None:
        """Wait until the run was read so often more."""
        with self.changed:
            most = self.whole[run] + times
            self.changed.wait_for(lambda: self.whole[run] >= most or self.ended, PATIENCE_S)
        assert self.whole[run] >= most, f"run {run} was not read within {PATIENCE_S:g} s"


def read_latest(http: httpx.Client) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    answer = http.get("/v1/schedules/nightly/latest").raise_for_status().json()
    found = list(answer["rankings"])
    link = answer["next"]
    while link:
        page = http.get(link).raise_for_status().json()
        found += page["items"]
        link = page["next"]
    return answer["run"], found


def faults(run: dict[str, Any], found: list[dict[str, Any]], mark: str | None) -> list[str]:
    """What keeps these rankings from being all of this run's, and no other's."""
    wrong = []
    if run["state"] != "published":
        wrong.append(f"{run['id']} is {run['state']}")
    if [one["standing_query"] for one in found] != QUERIES:
        wrong.append(f"{run['id']} has {len(found)} rankings")
    if others := {one["hits"][0]["id"] for one in found} - {mark}:
        wrong.append(f"{run['id']} shows {others} beside {mark}")
    return wrong


@contextmanager
def reading(tenant: Tenant) -> Iterator[Readers]:
    readers = Readers(tenant)
    _publish(readers, 0)
    with ThreadPoolExecutor(READERS) as pool:
        threads = [pool.submit(readers.read) for _ in range(READERS)]
        try:
            yield readers
        finally:
            readers.stopping.set()
            for one in threads:
                one.result()


def test_every_answer_is_one_whole_run(tenant: Tenant, corpus: str) -> None:
    _prepare(tenant)
    with reading(tenant) as readers:
        for number in range(1, RUNS):
            run = _publish(readers, number)
            readers.seen(run, 2 * READERS)
    assert readers.faults == []
    assert len(readers.whole) == RUNS


def test_a_switch_before_the_end_of_the_run_is_seen(tenant: Tenant, corpus: str) -> None:
    """Else the test above could not fail."""
    _prepare(tenant)
    with reading(tenant) as readers:

        def too_early(run: str) -> None:
            with tenant.database.begin() as connection:
                found = runs.by_id(connection, tenant.id, UUID(run))
                assert found is not None
                schedules.switch(connection, tenant.id, found.schedule_id, found.run_id, found.tick)
            readers.seen(run, 1)

        _publish(readers, 1, after_half=too_early)
    assert any("is running" in one for one in readers.faults)
    assert any("has 1" in one for one in readers.faults), readers.faults


def _prepare(tenant: Tenant) -> None:
    queries = [{"id": name, "text": f"query {name}"} for name in QUERIES]
    put = tenant.http.put("/v1/corpora/things/queries", json={"queries": queries})
    put.raise_for_status()
    schedule = {"name": "nightly", "corpus": "things", "cron": "30 2 * * *", "k": 2}
    tenant.http.post("/v1/schedules", json=schedule).raise_for_status()


def _publish(
    readers: Readers, number: int, after_half: Callable[[str], None] = lambda _: None
) -> str:
    """A run whose rankings are committed a few at a time, as workers do, then settled."""
    tenant = readers.tenant
    begun = tenant.http.post("/v1/schedules/nightly/runs", json={}).raise_for_status().json()
    run = str(begun["id"])
    readers.marks[run] = f"first of {number}"
    with tenant.database.begin() as connection:
        held = slices.claim(connection, UUID(run), Stage.RETRIEVE, "test", timedelta(minutes=5))
    assert held is not None
    for start in range(0, len(QUERIES), CHUNK):
        _rank(tenant, held, readers.marks[run], range(len(QUERIES))[start : start + CHUNK])
        if start == 2 * CHUNK:
            after_half(run)
    with tenant.database.begin() as connection:
        connection.execute(
            text("UPDATE job SET state = 'succeeded', finished_at = now() WHERE id = :id"),
            {"id": run},
        )
    while nightly.settle_ended(tenant.database):
        pass
    return run


def _rank(tenant: Tenant, held: Slice, mark: str, queries: range) -> None:
    hits = [
        Candidate(no, name, no, no, 1 / no, 0.5, 1.0 / no, 0.9, 1.5, (None,))
        for no, name in enumerate((mark, "another"), start=1)
    ]
    with tenant.database.begin() as connection:
        for query in queries:
            ask = Ask(2, Readout.CHOICE, Order(2))
            rankings.write(connection, held, query, ask, hits, hits)
