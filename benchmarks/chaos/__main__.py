"""Faults put into the real service, and proof that nothing is lost, doubled or different.

    python -m benchmarks.chaos [--seed N] [--minutes M] [--jobs J] [--long] [--json FILE]
                               [--without sweep|fencing]

Real API, a coarse worker, three fine workers, sweep, Postgres (durable) and broker as processes;
the scorer is a pure function. `--long` has the product's own leases and ten times the faults.
`--without` takes a protection away; the run must then find something. docs/chaos.md says more.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from benchmarks.chaos.client import Client
from benchmarks.chaos.plan import KILLS, LONG, SHORT, Planned, plan
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.rescue import Rescues
from benchmarks.chaos.stack import COMMANDS, Stack, environment, through
from benchmarks.chaos.verdict import Verdict, judge
from benchmarks.report import Row, machine, print_table, write_json
from repick import embedded
from repick.errors import Unavailable
from repick.processes import free_port, tail
from repick.settings import Settings
from repick.store.database import Database, migrate
from repick.store.keys import create_key, ensure_tenant

READY_S = 180.0
PATIENCE_S = 150.0
"""After the last fault, how long jobs may take to end before they count as unfinished."""


@dataclass(frozen=True, slots=True)
class Sizes:
    jobs: int
    documents: int
    seconds: float
    pair_ms: float
    deadline_s: float
    margin_s: float


@contextmanager
def running(sizes: Sizes, without: str) -> Iterator[tuple[Stack, Settings, str]]:
    """The whole stack, and the key of its tenant."""
    with tempfile.TemporaryDirectory(prefix="repick-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, Postgres runs as another user
        servers = embedded.start(folder)
        proxy = Proxy(int(servers.broker_url.rsplit(":", 1)[1].split("/")[0]))
        try:
            migrate(servers.database_url)
            database = Database(servers.database_url)
            with database.begin() as connection:
                key = create_key(connection, ensure_tenant(connection, "chaos"), "chaos")
            settings = Settings(
                database_url=servers.database_url,
                broker_url=through(servers.broker_url, proxy.port),
                data_dir=folder,
                api_port=free_port(),
                batch_deadline_s=sizes.deadline_s,
                lease_margin_s=sizes.margin_s,
                slice_pairs=25,
                batch_pairs=10,
            )
            given = environment(folder, settings, sizes.pair_ms, without)
            names = tuple(name for name in COMMANDS if name != without)
            rescues = Rescues(database)
            stack = Stack(
                folder, settings, servers.broker_url, proxy, database, rescues, given, names
            )
            stack.start()
            try:
                yield stack, settings, key
            finally:
                stack.stop()
                database.close()
        finally:
            proxy.close()
            embedded.remove(folder)


def run(stack: Stack, settings: Settings, client: Client, faults: Sequence[Planned]) -> datetime:
    """Jobs and faults side by side, then quiet; gives the moment after the last fault."""
    threads = [
        threading.Thread(target=each) for each in (stack.keep, stack.rescues.run, client.run)
    ]
    for thread in threads:
        thread.start()
    started, rng = time.monotonic(), random.Random(f"chaos/faults/{client.seed}")
    lease = settings.batch_deadline_s + settings.lease_margin_s
    try:
        for one in faults:
            time.sleep(max(0.0, started + one.at - time.monotonic()))
            print(f"{time.monotonic() - started:6.1f} s  {one.fault}", flush=True)
            stack.inflict(one.fault, rng, lease)
        stack.settle()
        threads[-1].join()
        last = datetime.now(UTC)
        _quiet(stack, client)
        return last
    finally:
        client.stop()
        stack.rescues.stop()
        stack.leave()
        for thread in threads:
            thread.join()


def _quiet(stack: Stack, client: Client) -> None:
    """Until every promised job has ended, or patience does."""
    deadline = time.monotonic() + PATIENCE_S
    headers = {"Authorization": f"Bearer {client.key}"}
    waiting = set(client.accepted)
    with httpx.Client(base_url=client.url, headers=headers, timeout=10, trust_env=False) as http:
        while waiting and time.monotonic() < deadline:
            time.sleep(0.5)
            for job in list(waiting):
                try:
                    answer = http.get(f"/v1/jobs/{job}")
                except httpx.HTTPError:
                    break
                if answer.status_code == 404 or (answer.is_success and answer.json()["final"]):
                    waiting.discard(job)


def figures(verdict: Verdict, stack: Stack, last: datetime) -> list[Row]:
    """In the benchmarks' form."""
    kills = sum(fault in KILLS for fault in stack.done) or 1
    seconds = sorted(stack.rescues.seconds)
    after = (verdict.last_finished - last).total_seconds() if verdict.last_finished else PATIENCE_S
    rows = [
        Row("accepted", verdict.accepted, "jobs", None, None),
        *(
            Row(name, getattr(verdict, name), unit, 0, "<=")
            for name, unit in (
                ("lost", "jobs"),
                ("failed_unexpected", "jobs"),
                ("different", "scores"),
                ("unfinished", "jobs"),
                ("poisoned_not_failed", "jobs"),
                ("cancelled_not_ended", "jobs"),
                ("old_leases", "slices"),
            )
        ),
        Row("scored_again", verdict.scored_again, "pairs", None, None),
        Row("rescored_batches_per_kill", verdict.batches_again / kills, "", 1.0, "<="),
        Row("faults", len(stack.done), "", None, None),
        Row("rescued", len(seconds), "slices", None, None),
        Row("final_after_last_fault_s", max(0.0, after), "s", 120.0, "<="),
        Row("bad_exits", len(stack.bad_exits), "", 0, "<="),
    ]
    if seconds:
        at = min(len(seconds) - 1, int(0.99 * len(seconds)))
        rows.append(Row("rescue_p50_s", seconds[len(seconds) // 2], "s", None, None))
        rows.append(Row("rescue_p99_s", seconds[at], "s", 45.0, "<="))
    if stack.exits:
        rows.append(Row("slowest_exit_s", max(stack.exits), "s", 45.0, "<="))
    return rows


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1.2)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--documents", type=int, default=50)
    parser.add_argument("--pair-ms", type=float, default=8.0)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--without", choices=("sweep", "fencing"), default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    lease = (20.0, 10.0) if options.long else (4.0, 3.0)
    sizes = Sizes(options.jobs, options.documents, 60 * options.minutes, options.pair_ms, *lease)
    with running(sizes, options.without) as (stack, settings, key):
        url = f"http://127.0.0.1:{settings.api_port}"
        client = Client(
            url, key, sizes.jobs, sizes.seconds, sizes.documents, options.seed,
            stack.folder / "accepted.tsv",
        )  # fmt: skip
        _ready(url, stack)
        client.fill()
        faults = plan(LONG if options.long else SHORT, sizes.seconds, options.seed)
        last = run(stack, settings, client, faults)
        with stack.database.begin() as connection:
            verdict = judge(
                connection, client, stack.folder / "calls.tsv", settings.sweep_interval_s
            )
        rows = figures(verdict, stack, last)
    for fault, count in Counter(stack.done).most_common():
        print(f"{count:4}  {fault}")
    print_table(rows)
    if options.json:
        write_json(options.json, "chaos", machine(), rows, quick=not options.long)
    ok = verdict.clean and not client.refused
    print(f"seed {options.seed}: " + ("nothing lost, nothing different" if ok else "VIOLATIONS"))
    for refused in client.refused[:5]:
        print(f"refused: {refused}")
    return 0 if ok else 1


def _ready(url: str, stack: Stack) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            serving = all(
                "serving" in tail(stack.folder / f"{name}.log")
                for name in stack.names
                if name not in ("api", "sweep")
            )
            if serving and httpx.get(f"{url}/readyz", trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        if time.monotonic() > deadline:
            raise Unavailable(f"not ready:\n{tail(stack.folder / 'api.log')}")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
