"""The harness's own parts: a check that cannot fail would prove nothing."""

from __future__ import annotations

import socket
import threading

import pytest

from benchmarks.chaos.checks import batches_again
from benchmarks.chaos.faults import COUNTS, schedule
from benchmarks.chaos.function import Call, margin
from benchmarks.chaos.proxy import Proxy


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


def test_batches_that_a_killed_worker_lost_are_counted_to_it() -> None:
    a, b, c = ("q", "a"), ("q", "b"), ("q", "c")
    made = [Call(1, 0.0, (a,)), Call(1, 1.0, (b,)), Call(2, 2.0, (b, c)), Call(2, 3.0, (c,))]
    assert batches_again(made, [1, 2, 3]) == [1, 1, 0]


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
