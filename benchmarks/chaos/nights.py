"""Nights whose fine workers are killed at 10, 50 and 90 %: as undisturbed ones, to the last bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos.checks import batches_again
from benchmarks.chaos.client import CORPUS, Client
from benchmarks.chaos.function import calls
from benchmarks.chaos.stack import FINE, Stack, tenant_key
from benchmarks.report import Row
from repick.errors import Unavailable

SHARES = (0.1, 0.5, 0.9)
QUERIES, K = 20, 20
PAIRS = QUERIES * K
SCHEDULE = "nightly"
PATIENCE_S = 180.0
SHOWN = ("id", "score", "margin", "label_mass")
"""What of a hit must be the same; JSON's numbers are exact."""


def nights(stack: Stack, client: Client, times: int) -> list[Row]:
    """Each night three kills, and the same night of another tenant, with whom no score is shared.

    A worker is killed when it has just computed a batch, most often before that is committed.
    """
    calm = Client(stack.api_url, tenant_key(stack.servers, "calm"), stack.folder / "calm.jsonl")
    different, unfinished, shares, again = 0, 0, list[float](), list[int]()
    try:
        calm.load([f"document {number}" for number in range(K)])
        for number in range(times):
            expected = _ranked(calm, _begin(calm, number))
            since, killed = time.monotonic(), dict[int, float]()
            begun = _begin(client, number)
            for share in SHARES:
                pid = _kill_at(stack, client, begun, share)
                killed[pid] = time.monotonic()
                view = client.ask("GET", f"/v1/jobs/{begun}")
                shares.append(view["progress"]["pairs_done"] / PAIRS)
                unfinished += view["finished_at"] is None
                stack.revive()
            different += _ranked(client, begun) != expected
            made = [call for call in calls(stack.folder) if call.at > since]  # not the calm one's
            again += batches_again(made, killed)
    finally:
        calm.close()
    last = len(SHARES)
    return [
        Row("nights_different", different, "nights", 0, "<="),
        Row("nights_kills_under_way", unfinished, "kills", last * times, ">="),
        *(
            Row(f"nights_killed_at_{share:.0%}", max(shares[no::last]), "share, at most")
            for no, share in enumerate(SHARES)
        ),
        Row("nights_batches_again", sum(again), "batches"),
        Row("nights_batches_again_per_kill", max(again), "batches, at most", 1, "<="),
    ]


def _begin(client: Client, number: int) -> str:
    """Put the night's queries and run the schedule now; gives the run's id."""
    queries = [{"id": f"q{no:02}", "text": f"night {number} query {no}"} for no in range(QUERIES)]
    client.ask("PUT", f"/v1/corpora/{CORPUS}/queries", {"queries": queries})
    schedule = {"name": SCHEDULE, "corpus": CORPUS, "cron": "0 2 * * *", "k": K}
    client.ask("POST", "/v1/schedules", schedule | {"scorer": "chaos-scorer"}, also=409)
    return str(client.ask("POST", f"/v1/schedules/{SCHEDULE}/runs", {})["id"])


def _kill_at(stack: Stack, client: Client, run: str, share: float) -> int:
    """kill -9 the fine worker that next ends a batch after so much is committed; gives its pid."""

    def reached() -> bool:
        progress = client.ask("GET", f"/v1/jobs/{run}")["progress"]
        return bool(progress["pairs_done"] >= share * PAIRS)

    _until(reached, f"{share:.0%} of run {run}")
    before = _logged(stack.folder)
    grown: list[int] = []

    def computed() -> bool:
        grown[:] = [pid for pid, size in _logged(stack.folder).items() if size > before.get(pid, 0)]
        return bool(grown)

    _until(computed, "another batch", step_s=0.0005)
    name = next(one for one in FINE if stack.processes[one].pid == grown[0])
    return stack.kill(name)


def _logged(folder: Path) -> dict[int, int]:
    """How long each worker's log of batches is, by pid."""
    logs = folder.glob("calls-*.jsonl")
    return {int(one.stem.rpartition("-")[2]): one.stat().st_size for one in logs}


def _ranked(client: Client, run: str) -> list[Any]:
    """All rankings of a run, once the schedule's latest is this run."""
    path = f"/v1/schedules/{SCHEDULE}/latest"
    view: dict[str, Any] = {}

    def published() -> bool:
        view.update(client.ask("GET", path, also=404))
        return bool(view.get("run", {}).get("id") == run)

    _until(published, f"run {run} to be the latest")
    found = list(view["rankings"])
    while view["next"]:
        view = client.ask("GET", view["next"])
        found += view["items"]
    return [
        (one["standing_query"], [[hit[name] for name in SHOWN] for hit in one["hits"]])
        for one in found
    ]


def _until(ask: Callable[[], bool], what: str, step_s: float = 0.02) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ask():
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} did not come within {PATIENCE_S:g} s")
        time.sleep(step_s)
