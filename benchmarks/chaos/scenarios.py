"""One question at a time: `python -m benchmarks.chaos scenario NAME [--times N]`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from benchmarks.chaos.client import CORPUS, Client
from benchmarks.chaos.function import POISON, poisoned
from benchmarks.chaos.nights import nights
from benchmarks.chaos.stack import FINE, Setup, Stack, running, wait_ready
from benchmarks.chaos.steady import steady
from benchmarks.report import Row
from repick.errors import Unavailable

K = 20
GRACE_S = 35.0
"""Celery's soft shutdown of 30 s, and what the process needs to leave."""


def broker_restarts(stack: Stack, client: Client, times: int) -> list[Row]:
    """After each restart a fresh job is submitted and must end."""
    return _consumed(stack.restart_broker, client, times, "restart", 15)


def half_open(stack: Stack, client: Client, times: int) -> list[Row]:
    """All connections to the broker fall silent at once; a fresh job must end."""
    return _consumed(stack.proxy.silence, client, times, "half_open", 60)


def _consumed(
    fault: Callable[[], None], client: Client, times: int, name: str, goal_s: float
) -> list[Row]:
    waits = []
    for number in range(times):
        fault()
        started = time.monotonic()
        ended = _ended(client, client.submit(f"{name} {number}", K, "succeed").id)
        waits.append(time.monotonic() - started if ended == "succeeded" else float("inf"))
    return [
        Row(f"{name}_consumed", sum(wait <= goal_s for wait in waits), "times", times, ">="),
        Row(f"{name}_longest_s", max(waits), "s", goal_s, "<="),
    ]


def sigterm(stack: Stack, client: Client, times: int) -> list[Row]:
    """SIGTERM to a busy fine worker: it leaves in time, with 0, and no job fails."""
    jobs, waits, codes = [], [], []
    for number in range(times):
        jobs += [client.submit(f"term {number} {one}", K, "succeed").id for one in range(3)]
        name = FINE[number % len(FINE)]
        stack.wait_serving(name)  # one that still loads its model just ends
        process = stack.processes.pop(name)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        codes.append(process.wait(2 * GRACE_S))
        waits.append(time.monotonic() - started)
        stack.start(name)
    states = [_ended(client, job) for job in jobs]
    return [
        Row("sigterm_not_succeeded", sum(one != "succeeded" for one in states), "jobs", 0, "<="),
        Row("sigterm_exit_codes", sum(code != 0 for code in codes), "exits", 0, "<="),
        Row("sigterm_exit_longest_s", max(waits), "s", GRACE_S, "<="),
    ]


def poison(stack: Stack, client: Client, times: int) -> list[Row]:
    """A job that kills its worker fails after three attempts; its neighbours do not."""
    bad = [client.submit(f"{POISON} {number}", K, "poisoned").id for number in range(times)]
    good = [client.submit(f"beside {number}", K, "succeed").id for number in range(5 * times)]
    failed = [_ended(client, job, stack.revive) for job in bad]
    others = [_ended(client, job, stack.revive) for job in good]
    return [
        Row("poison_failed", sum(one == "failed" for one in failed), "jobs", times, ">="),
        Row("poison_others_hurt", sum(one != "succeeded" for one in others), "jobs", 0, "<="),
    ]


def one_key(stack: Stack, client: Client, times: int) -> list[Row]:
    """`times` parallel submits with one key make one job; another body is refused with 409."""
    headers = {"Authorization": f"Bearer {stack.key}", "Idempotency-Key": "once"}
    body = {"corpus": CORPUS, "query": {"text": "once"}, "k": K}

    def post(value: object) -> httpx.Response:
        return httpx.post(
            f"{stack.api_url}/v1/jobs", json=value, headers=headers, timeout=60, trust_env=False
        )

    with ThreadPoolExecutor(times) as pool:
        answers = list(pool.map(post, [body] * times))
    ids = {answer.json().get("id") for answer in answers}
    other = post({**body, "query": {"text": "another"}})
    return [
        Row("one_key_accepted", sum(one.is_success for one in answers), "answers", times, ">="),
        Row("one_key_jobs", len(ids), "jobs", 1, "<="),
        Row("one_key_other_body", other.status_code, "status", 409, ">="),
    ]


SCENARIOS: dict[str, tuple[Callable[[Stack, Client, int], list[Row]], int]] = {
    "broker-restarts": (broker_restarts, 50),
    "half-open": (half_open, 5),
    "sigterm": (sigterm, 20),
    "poison": (poison, 2),
    "one-key": (one_key, 50),
    "nights": (nights, 10),
    "steady": (steady, 30),
}
"""Each with how often it is done unless asked otherwise; `steady` counts minutes."""


def scenario(name: str, times: int = 0) -> list[Row]:
    """Raises KeyError on an unknown name, Unavailable where a job never ends."""
    ask, usual = SCENARIOS[name]
    with running(Setup(delay_s=0.02)) as stack:
        client = Client(stack.api_url, stack.key, stack.folder / "accepted.jsonl")
        try:
            client.load([f"document {number}" for number in range(K)])
            wait_ready(stack)
            rows = ask(stack, client, times or usual)
            stack.note_deaths()
            expected = poisoned(stack.folder)
            died = [one for one in stack.deaths if one.pid not in expected]
            return [*rows, Row("died_by_themselves", len(died), "processes", 0, "<=")]
        finally:
            client.close()


def _ended(client: Client, job: str, meanwhile: Callable[[], None] = lambda: None) -> str:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        view = client.ask("GET", f"/v1/jobs/{job}")
        if view["finished_at"]:
            return str(view["state"])
        meanwhile()
        time.sleep(0.1)
    raise Unavailable(f"job {job} did not end within 180 s")
