"""The harness's own parts: a check that cannot fail would prove nothing."""

from __future__ import annotations

import random
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from benchmarks.chaos.__main__ import caught
from benchmarks.chaos.checks import Findings, batches_again
from benchmarks.chaos.commits import Commit, stale
from benchmarks.chaos.faults import Injector
from benchmarks.chaos.function import Call, margin
from benchmarks.chaos.plan import COUNTS, only, schedule
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.run import Outcome
from benchmarks.chaos.stack import Death, Setup, Stack
from worker.device import EXIT_DEADLINE


def test_the_function_is_pure_and_tells_pairs_apart() -> None:
    values = {margin(f"q{q}", f"d{d}") for q in range(40) for d in range(40)}
    assert len(values) == 1600
    assert margin("q1", "d1") in values
    assert min(values) >= -4
    assert max(values) < 4


def test_a_seed_gives_one_schedule_with_every_kind() -> None:
    assert schedule(3, 60, 0.1) == schedule(3, 60, 0.1) != schedule(4, 60, 0.1)
    assert {fault.kind for fault in schedule(3, 60, 0)} == set(COUNTS)
    assert len(schedule(3, 60, 1)) == sum(COUNTS.values())
    alone = only("slow postgres", 3, 60)
    assert {fault.kind for fault in alone} == {"slow postgres"}
    assert len(alone) == COUNTS["slow postgres"]


def test_batches_that_a_killed_worker_lost_are_counted_to_it() -> None:
    a, b, c = ("q", "a"), ("q", "b"), ("q", "c")
    made = [Call(1, 0.0, (a,)), Call(1, 1.0, (b,)), Call(2, 2.0, (b, c)), Call(2, 3.0, (c,))]
    assert batches_again(made, {1: 1.5, 2: 2.5, 3: 0.0}) == [1, 1, 0]


def test_batches_that_were_scored_again_while_it_lived_are_another_faults() -> None:
    pair = ("q", "a")
    made = [Call(1, 0.0, (pair,)), Call(2, 1.0, (pair,)), Call(1, 2.0, (pair,))]
    assert batches_again(made, {1: 3.0, 2: 3.0}) == [0, 0]
    assert batches_again(made, {1: 0.5, 2: 1.5}) == [1, 1]


def test_commits_under_a_token_that_is_not_the_slices_any_more_are_told_from_others() -> None:
    mine, other = UUID(int=1), UUID(int=2)
    assert stale([]) == 0
    assert stale([Commit(mine, mine), Commit(other, other)]) == 0
    assert stale([Commit(mine, mine), Commit(mine, other), Commit(mine, None)]) == 2
    assert outcome(replace(NOTHING, stale=2)).violations == 2


def test_a_silenced_connection_stays_open_and_a_new_one_works() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo, args=(server,), daemon=True).start()
        with (
            Proxy(server.getsockname()[1]) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as first,
        ):
            assert _asked(first) == b"ping"
            proxy.silence()
            first.settimeout(0.3)
            with pytest.raises(TimeoutError):
                _asked(first)
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as second:
                assert _asked(second) == b"ping"


def test_each_chunk_waits_both_ways_before_it_goes_on_while_the_way_is_slow() -> None:
    happened: list[str | float] = []

    def echo(server: socket.socket) -> None:
        one, _ = server.accept()
        with one:
            while data := one.recv(16):
                happened.append("at the server")
                one.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        with (
            Proxy(server.getsockname()[1], sleep=happened.append) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as one,
        ):
            assert _asked(one) == b"ping"
            assert happened == [0.0, "at the server", 0.0]
            happened.clear()
            proxy.delay_s = (0.05, 0.5)
            assert _asked(one) == b"ping"
            there, at_the_server, back = happened
            assert at_the_server == "at the server"
            assert there != back
            assert all(0.05 <= delay <= 0.5 for delay in (there, back))


NOTHING = Findings(
    lost=0,
    failed_unexpected=0,
    unfinished=0,
    different=0,
    doubled=0,
    held=0,
    overdone=0,
    stale=0,
    scored_again=7,
)


def outcome(findings: Findings, *died: Death, forgotten: int = 0) -> Outcome:
    return Outcome(findings, 1, (), (), 0.0, (), forgotten, died)


def test_a_broken_system_in_which_nothing_is_found_is_no_success(
    capsys: pytest.CaptureFixture[str],
) -> None:
    died = Death("fine-1", 7, 1, starting_without_postgres=False)
    assert caught("sweep", outcome(NOTHING)) == 1
    assert "NOT CAUGHT" in capsys.readouterr().err
    for broken in ("sweep", "fencing"):  # neither explains these
        assert caught(broken, outcome(replace(NOTHING, unfinished=9, held=2), died)) == 1
    assert caught("sweep", outcome(NOTHING, forgotten=1)) == 0
    assert caught("fencing", outcome(NOTHING, forgotten=1)) == 1
    assert caught("fencing", outcome(replace(NOTHING, overdone=1))) == 0
    assert caught("fencing", outcome(replace(NOTHING, stale=1))) == 0
    assert caught("sweep", outcome(replace(NOTHING, stale=1))) == 1


def test_a_death_that_nobody_caused_is_a_violation_and_is_named() -> None:
    assert outcome(NOTHING).violations == 0
    one = outcome(NOTHING, Death("sweep", 7, 1, starting_without_postgres=False))
    assert one.violations == 1
    assert "died by itself: sweep, with 1" in one.table()
    row = next(row for row in one.rows() if row.metric == "died_by_themselves")
    assert row.met is False


def test_deaths_are_told_from_those_that_the_harness_caused(tmp_path: Path) -> None:
    """Real processes that end in these ways; only what nobody caused is left."""
    ends = {
        "api": "import sys; sys.exit(3)",
        "fine-1": "import os; os.kill(os.getpid(), 9)",
        "fine-2": "import os; os.kill(os.getpid(), 9)",
        "fine-3": f"import os; os._exit({EXIT_DEADLINE})",
        "coarse": f"import os; os._exit({EXIT_DEADLINE})",
    }
    none: Any = None  # servers, proxies and database are not asked
    stack = Stack(tmp_path, Setup(), none, none, none, key="")
    for name, code in ends.items():
        stack.launch(name, [sys.executable, "-c", code], {})
    injector = Injector(stack, none, random.Random(1))
    pids = {name: process.pid for name, process in stack.processes.items()}
    (tmp_path / f"poisoned-{pids['fine-1']}").touch()
    injector.stalled.add(pids["fine-3"])
    for process in stack.processes.values():
        process.wait(20)
    stack.note_deaths()
    assert {one.name for one in injector.unexplained} == {"api", "fine-2", "coarse"}
    assert stack.processes == {}


def _asked(one: socket.socket) -> bytes:
    one.sendall(b"ping")
    return one.recv(16)


def _echo(server: socket.socket) -> None:
    for _ in range(2):
        one, _ = server.accept()
        threading.Thread(target=_answer, args=(one,), daemon=True).start()


def _answer(one: socket.socket) -> None:
    with one:
        while data := one.recv(16):
            one.sendall(data)
