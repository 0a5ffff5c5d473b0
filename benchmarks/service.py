"""What the service itself costs, with models that cost nothing.

    python -m benchmarks.service [--quick] [--json FILE] [--profile FOLDER]

Real API, workers and sweep as processes on an embedded Postgres (durable) and Valkey; one text
query a job, k = 10, 1,000 items, 8 clients. Clients, service and servers share this machine's
cores, and the workers drain while the clients submit.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fake_worker import SLOW, SLOW_PAIR_S
from benchmarks.report import Row, machine, print_table, write_json
from benchmarks.service_http import Http
from benchmarks.service_local import local
from benchmarks.service_stack import Stack, running

ITEMS, K, CLIENTS, POLLS_PER_S = 1_000, 10, 8, 100
CORPUS = "benchmark"
GOALS = {
    "accepted_per_s": 300.0,
    "poll_p99_ms": 20.0,
    "overhead_p50_ms": 50.0,
    "overloaded_poll_p99_ms": 300.0,
    "overload_times": 10.0,
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: seconds, and jobs one after another."""

    accept_s: float
    poll_s: float
    single: int


FULL, QUICK = Sizes(15.0, 15.0, 200), Sizes(1.5, 2.0, 40)


@dataclass(slots=True)
class Bench:
    stack: Stack
    sizes: Sizes
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def body(self, kind: str = "query") -> dict[str, object]:
        """A job whose query nobody has asked before, so that nothing is reused."""
        return {"corpus": CORPUS, "query": {"text": f"{kind} {next(self.numbers)}"}, "k": K}

    async def http(self) -> Http:
        return await Http.open(self.stack.settings.api_port, self.stack.key)

    async def fill(self) -> None:
        """Put the items, and wait for their vectors."""
        http = await self.http()
        await http.post("/v1/corpora", {"name": CORPUS})
        items = [{"id": f"item-{no}", "text": f"text {no}"} for no in range(ITEMS)]
        await http.put(f"/v1/corpora/{CORPUS}/items", {"items": items})
        while (await http.get(f"/v1/corpora/{CORPUS}")).json()["pending"]:
            await asyncio.sleep(0.1)
        await http.close()

    async def one(self, http: Http, kind: str = "query") -> tuple[str, float]:
        """Submit one job: its id, and the seconds until it was accepted."""
        started = time.perf_counter()
        answer = await http.post("/v1/jobs", self.body(kind))
        return answer.json()["id"], time.perf_counter() - started

    async def ended(self, http: Http, job: str) -> dict[str, Any]:
        while True:
            view: dict[str, Any] = (await http.get(f"/v1/jobs/{job}", wait_s=30)).json()
            if view["final"]:
                assert view["state"] == "succeeded", view
                return view

    async def single(self) -> list[float]:
        """Seconds from submit to succeeded, one job in flight."""
        http, seconds = await self.http(), []
        for no in range(self.sizes.single + 10):
            started = time.perf_counter()
            job, _ = await self.one(http)
            await self.ended(http, job)
            if no >= 10:  # the first ones open connections
                seconds.append(time.perf_counter() - started)
        await http.close()
        return seconds

    async def accept(self) -> Accepted:
        """Eight clients submit as fast as they can; then the workers drain what is left."""
        started = time.perf_counter()
        found = await asyncio.gather(
            *(self._client(started + self.sizes.accept_s) for _ in range(CLIENTS))
        )
        took = time.perf_counter() - started
        jobs = [job for part in found for job, _ in part]
        latencies = [seconds for part in found for _, seconds in part]
        http = await self.http()
        for job in jobs[-CLIENTS:] + jobs:
            await self.ended(http, job)
        await http.close()
        return Accepted(jobs, latencies, took, time.perf_counter() - started)

    async def overloaded(self, jobs: Sequence[str]) -> tuple[list[float], float]:
        """Latencies of polls while clients submit as fast as they can jobs that score slowly, and
        how many times what can be scored that is."""
        started = time.perf_counter()
        ends = started + self.sizes.poll_s
        clients = [asyncio.create_task(self._client(ends, SLOW)) for _ in range(CLIENTS)]
        latencies = await self.poll(jobs)
        accepted = sum(len(done) for done in await asyncio.gather(*clients))
        return latencies, accepted / (time.perf_counter() - started) * K * SLOW_PAIR_S

    async def _client(self, ends: float, kind: str = "query") -> list[tuple[str, float]]:
        http, done = await self.http(), []
        while time.perf_counter() < ends:
            done.append(await self.one(http, kind))
        await http.close()
        return done

    async def poll(self, jobs: Sequence[str]) -> list[float]:
        """Latencies of polls that start on the clock, whatever became of those before them.

        Counted from the moment at which a poll was due. Meanwhile one job is in flight.
        """
        free: asyncio.Queue[Http] = asyncio.Queue()
        for _ in range(CLIENTS):
            free.put_nowait(await self.http())
        busy = asyncio.create_task(self._keep_one_in_flight())
        started, polls = time.perf_counter(), []
        for no in range(int(self.sizes.poll_s * POLLS_PER_S)):
            due = started + no / POLLS_PER_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            polls.append(asyncio.create_task(_poll(free, jobs[no % len(jobs)], due)))
        latencies = await asyncio.gather(*polls)
        busy.cancel()
        await asyncio.wait([busy])
        while not free.empty():
            await free.get_nowait().close()
        return latencies

    async def _keep_one_in_flight(self) -> None:
        http = await self.http()
        try:
            while True:
                job, _ = await self.one(http)
                await self.ended(http, job)
        finally:
            await http.close()


@dataclass(frozen=True, slots=True)
class Accepted:
    jobs: list[str]
    latencies: list[float]
    seconds: float
    drained_seconds: float


async def _poll(free: asyncio.Queue[Http], job: str, due: float) -> float:
    http = await free.get()
    await http.get(f"/v1/jobs/{job}")
    free.put_nowait(http)
    return time.perf_counter() - due


def measure(bench: Bench) -> list[Row]:
    asyncio.run(bench.fill())
    with local(bench.stack) as pipeline:
        in_process = [pipeline.run(bench.body()) for _ in range(bench.sizes.single)]
    single = asyncio.run(bench.single())
    accepted = asyncio.run(bench.accept())
    polls = asyncio.run(bench.poll(accepted.jobs))
    overloaded, times = asyncio.run(bench.overloaded(accepted.jobs))
    floor = statistics.median(in_process)
    milliseconds = [1000 * one for one in accepted.latencies]
    return [
        _row("accepted_per_s", len(accepted.jobs) / accepted.seconds, "1/s"),
        _row("submit_p50_ms", quantile(milliseconds, 0.5), "ms"),
        _row("submit_p99_ms", quantile(milliseconds, 0.99), "ms"),
        _row("poll_p99_ms", 1000 * quantile(polls, 0.99), "ms"),
        _row("poll_p50_ms", 1000 * quantile(polls, 0.5), "ms"),
        _row("overloaded_poll_p99_ms", 1000 * quantile(overloaded, 0.99), "ms"),
        _row("overload_times", times, "times"),
        _row("overhead_p50_ms", 1000 * (statistics.median(single) - floor), "ms"),
        _row("job_p50_ms", 1000 * statistics.median(single), "ms"),
        _row("in_process_p50_ms", 1000 * floor, "ms"),
        _row("drained_per_s", len(accepted.jobs) / accepted.drained_seconds, "1/s"),
    ]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000 * len(ordered)) // 1000) - 1))]


def _row(metric: str, value: float, unit: str) -> Row:
    goal = GOALS.get(metric)
    sense = None if goal is None else ">=" if unit in {"1/s", "times"} else "<="
    return Row(metric, value, unit, goal, sense)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", type=Path, help="a folder for a cProfile of each process")
    options = parser.parse_args(arguments)
    with running(options.profile) as stack:
        rows = measure(Bench(stack, QUICK if options.quick else FULL))
    print_table(rows)
    if options.json:
        write_json(options.json, "service", machine(), rows, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
