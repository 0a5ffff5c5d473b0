"""Batch sizes follow the device: large where it is fast, one by one where it is slow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.pace import Pace


def drive(pace: Pace, seconds_a_unit: float, batches: int = 6) -> list[int]:
    sizes = []
    for _ in range(batches):
        sizes.append(pace.size)
        pace.learn(pace.size, pace.size * seconds_a_unit)
    return sizes


def test_fast_device_reaches_the_largest_batch_in_a_few_steps() -> None:
    assert drive(Pace(most=64), 0.001) == [1, 4, 16, 64, 64, 64]


def test_slow_device_goes_one_by_one() -> None:
    assert drive(Pace(most=64), 9.0) == [1, 1, 1, 1, 1, 1]


def test_batch_takes_about_the_target() -> None:
    assert drive(Pace(most=64, target_s=2.0), 0.25)[-1] == 8


def test_device_that_becomes_slow_gets_small_batches_at_once() -> None:
    pace = Pace(most=64)
    drive(pace, 0.001)
    pace.learn(64, 64.0)
    assert pace.size == 2


def test_run_holds_as_many_pieces_as_fit_and_at_least_one() -> None:
    pace = Pace(most=100, first=10)
    assert pace.run([4, 4, 4, 4], lambda units: units) == [4, 4]
    assert pace.run([50, 1], lambda units: units) == [50]
    assert pace.run([1, 2, 3], lambda units: units) == [1, 2, 3]
    assert pace.run([], lambda units: units) == []


def test_work_is_timed_by_its_units() -> None:
    pace = Pace(most=64, first=8)
    assert pace.timed(lambda: "done", 8) == "done"
    assert pace.size == 32


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 1000))))
def test_size_stays_between_one_and_the_most(batches: list[tuple[int, float]]) -> None:
    pace = Pace(most=64)
    for units, seconds in batches:
        pace.learn(units, seconds)
        assert 1 <= pace.size <= 64
