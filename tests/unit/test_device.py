"""The device thread: one batch at a time, interactive first, a deadline that ends the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field

import pytest

from worker.device import Device
from worker.line import Joint


def test_interactive_work_overtakes_bulk_work_that_waits() -> None:
    order: list[str] = []
    gate = threading.Event()
    with Device(deadline_s=20) as device:
        running = device.submit(gate.wait, bulk=True)
        waiting = [
            device.submit(lambda name=name: order.append(name), bulk=name.startswith("bulk"))
            for name in ("bulk-1", "now-1", "bulk-2", "now-2")
        ]
        gate.set()
        for work in [running, *waiting]:
            work.result(timeout=10)
    assert order == ["now-1", "now-2", "bulk-1", "bulk-2"]


def test_error_belongs_to_whoever_waits_and_the_next_batch_runs() -> None:
    def broken() -> None:
        raise ValueError("out of luck")

    with Device(deadline_s=20) as device:
        with pytest.raises(ValueError, match="out of luck"):
            device.submit(broken).result(timeout=10)
        assert device.submit(lambda: 7).result(timeout=10) == 7


def test_everything_handed_in_before_the_end_is_done() -> None:
    with Device(deadline_s=20) as device:
        work = [device.submit(lambda n=n: n * n, bulk=True) for n in range(20)]
    assert [one.result(timeout=0) for one in work] == [n * n for n in range(20)]


def test_batch_past_its_deadline_ends_the_process() -> None:
    ended, gate = threading.Event(), threading.Event()

    def end() -> None:
        ended.set()
        gate.set()

    with Device(deadline_s=0.05, on_deadline=end) as device:
        device.submit(gate.wait)
        assert ended.wait(timeout=10)


def test_idle_device_ends_no_process() -> None:
    ended = threading.Event()
    with Device(deadline_s=0.05, on_deadline=ended.set) as device:
        for _ in range(3):
            device.submit(lambda: None).result(timeout=10)
        assert not ended.wait(timeout=0.6)


@dataclass
class Recorder:
    """Doubles what it is given, and writes down each batch; `poison` spoils a whole batch."""

    batches: list[list[int]] = field(default_factory=list)

    def together(self, pieces: Sequence[int]) -> list[int]:
        self.batches.append(list(pieces))
        if 666 in pieces:
            raise ValueError("poison")
        return [2 * piece for piece in pieces]

    def submit(
        self, device: Device, pieces: list[int], room: int = 10, key: str = "a", bulk: bool = False
    ) -> Future[list[int]]:
        joint = Joint(key, pieces, len(pieces), lambda: room, self.together)
        return device.submit(lambda: self.together(pieces), bulk=bulk, joint=joint)


@contextmanager
def line_of(recorder: Recorder) -> Iterator[tuple[Device, threading.Event]]:
    """A device that is busy until the event is set, so that what is handed in waits."""
    gate = threading.Event()
    with Device(deadline_s=20) as device:
        device.submit(gate.wait)
        try:
            yield device, gate
        finally:
            gate.set()


def test_small_batches_of_several_threads_are_one_and_each_gets_its_own_results() -> None:
    recorder = Recorder()
    with line_of(recorder) as (device, gate):
        work = [recorder.submit(device, pieces) for pieces in ([1, 2], [3], [4, 5, 6])]
        gate.set()
        assert [one.result(timeout=10) for one in work] == [[2, 4], [6], [8, 10, 12]]
    assert recorder.batches == [[1, 2, 3, 4, 5, 6]]


def test_batch_fills_in_order_of_arrival_up_to_the_first_that_does_not_fit() -> None:
    recorder = Recorder()
    with line_of(recorder) as (device, gate):
        work = [recorder.submit(device, list(range(n)), room=8) for n in (5, 2, 4, 1)]
        gate.set()
        assert [len(one.result(timeout=10)) for one in work] == [5, 2, 4, 1]
    assert [len(batch) for batch in recorder.batches] == [7, 5]


def test_batch_larger_than_the_room_is_computed_by_itself() -> None:
    recorder = Recorder()
    with line_of(recorder) as (device, gate):
        work = [recorder.submit(device, list(range(n)), room=8) for n in (20, 1)]
        gate.set()
        assert [len(one.result(timeout=10)) for one in work] == [20, 1]
    assert [len(batch) for batch in recorder.batches] == [20, 1]


def test_bulk_work_and_another_key_fill_no_interactive_batch() -> None:
    recorder = Recorder()
    with line_of(recorder) as (device, gate):
        work = [
            recorder.submit(device, [1], bulk=True),
            recorder.submit(device, [2]),
            recorder.submit(device, [3], key="b"),
            recorder.submit(device, [4]),
            recorder.submit(device, [5], bulk=True),
        ]
        gate.set()
        assert [one.result(timeout=10) for one in work] == [[2], [4], [6], [8], [10]]
    assert recorder.batches == [[2, 4], [3], [1, 5]]


def test_piece_that_spoils_a_joint_batch_spoils_no_neighbour() -> None:
    recorder = Recorder()
    with line_of(recorder) as (device, gate):
        good, bad = recorder.submit(device, [1]), recorder.submit(device, [666])
        gate.set()
        assert good.result(timeout=10) == [2]
        with pytest.raises(ValueError, match="poison"):
            bad.result(timeout=10)
    assert recorder.batches == [[1, 666], [1], [666]]


def test_many_threads_of_one_job_do_not_keep_another_from_the_device() -> None:
    """What is handed in later waits behind what is there, however much of it is one job's."""
    recorder = Recorder()
    order: list[int] = []
    with line_of(recorder) as (device, gate):
        large = [recorder.submit(device, [no] * 8, room=8) for no in range(3)]
        small = recorder.submit(device, [9], room=8)
        later = recorder.submit(device, [3] * 8, room=8)
        for one in (*large, small, later):
            one.add_done_callback(lambda done: order.append(done.result()[0] // 2))
        gate.set()
    assert order == [0, 1, 2, 9, 3]


def test_batch_that_was_cancelled_in_line_never_starts() -> None:
    recorder = Recorder()
    with line_of(recorder) as (device, gate):
        work = [recorder.submit(device, [no]) for no in range(4)]
        assert work[0].cancel()
        assert work[2].cancel()
        gate.set()
        assert [work[no].result(timeout=10) for no in (1, 3)] == [[2], [6]]
    assert recorder.batches == [[1, 3]]


def test_joint_batch_stands_in_the_trace_of_everyone_in_it() -> None:
    name: ContextVar[str] = ContextVar("name")
    opened: list[str] = []

    @contextmanager
    def around() -> Iterator[None]:
        opened.append(name.get())
        yield

    def submit(device: Device, who: str) -> Future[list[int]]:
        name.set(who)
        joint = Joint("a", [1], 1, lambda: 10, list, around)
        return device.submit(lambda: [0], joint=joint)

    with line_of(Recorder()) as (device, gate):
        work = [copy_context().run(submit, device, who) for who in ("ada", "bob")]
        gate.set()
        assert [one.result(timeout=10) for one in work] == [[1], [1]]
    assert opened == ["ada", "bob"]


def test_a_batch_starts_once_the_results_of_the_one_before_are_kept() -> None:
    kept, started = threading.Event(), threading.Event()
    with Device(deadline_s=20) as device:
        device.submit(lambda: 1, kept=kept).result(timeout=10)
        second = device.submit(started.set)
        assert not started.wait(0.2)
        kept.set()
        second.result(timeout=10)


def test_results_that_nobody_comes_to_keep_hold_the_device_for_a_moment_only() -> None:
    with Device(deadline_s=20, patience_s=0.05) as device:
        device.submit(lambda: 1, kept=threading.Event())
        assert device.submit(lambda: 2).result(timeout=10) == 2
