"""The device thread: one batch at a time, interactive first, a deadline that ends the process."""

from __future__ import annotations

import threading

import pytest

from worker.device import Device


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
