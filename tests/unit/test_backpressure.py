"""Limits of what waits and of how fast a key asks, by a clock of the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from api.backpressure import REFRESH_S, Backlog, Rates
from api.problems import HttpError


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stored:
    """What Postgres would say, and how often it was asked."""

    pairs: dict[int, int] = field(default_factory=dict)
    asked: int = 0

    def __call__(self) -> Mapping[int, int]:
        self.asked += 1
        return dict(self.pairs)


def test_a_tenant_may_fill_its_own_limit_and_no_more() -> None:
    limit = Backlog(Stored(), per_tenant=100, total=1000, clock=Clock())
    with limit.reserved(1, 60):
        pass
    with limit.reserved(1, 40):
        pass
    with pytest.raises(HttpError) as caught, limit.reserved(1, 1):
        pass
    assert (caught.value.status, caught.value.code) == (429, "queue_full")
    assert int(caught.value.headers["Retry-After"]) >= 1
    with limit.reserved(2, 100):
        pass


def test_all_together_may_fill_the_limit_of_the_service() -> None:
    limit = Backlog(Stored({1: 50, 2: 50}), per_tenant=100, total=120, clock=Clock())
    with pytest.raises(HttpError), limit.reserved(3, 21):
        pass
    with limit.reserved(3, 20):
        pass


def test_what_is_being_committed_counts_and_what_fails_does_not() -> None:
    limit = Backlog(Stored({1: 1}), per_tenant=100, total=1000, clock=Clock())
    with limit.reserved(1, 99), pytest.raises(HttpError), limit.reserved(1, 1):
        pass
    with pytest.raises(ZeroDivisionError), limit.reserved(2, 100):
        raise ZeroDivisionError
    with limit.reserved(2, 100):
        pass


def test_a_job_larger_than_the_limit_is_taken_alone() -> None:
    limit = Backlog(Stored(), per_tenant=100, total=100, clock=Clock())
    with limit.reserved(1, 500):
        pass


def test_what_ended_makes_room_once_it_is_read_again() -> None:
    clock, stored = Clock(), Stored({1: 100})
    limit = Backlog(stored, per_tenant=100, total=1000, clock=clock)
    for _ in range(50):
        with pytest.raises(HttpError), limit.reserved(1, 1):
            pass
    assert stored.asked == 1
    stored.pairs = {}
    clock.now += REFRESH_S
    with limit.reserved(1, 100):
        pass
    assert stored.asked == 2


def test_a_key_has_a_burst_and_then_its_rate() -> None:
    clock = Clock()
    rates = Rates(2.0, clock)
    for _ in range(4):
        rates.take(7)
    with pytest.raises(HttpError) as caught:
        rates.take(7)
    assert (caught.value.status, caught.value.code) == (429, "rate_limited")
    assert caught.value.headers["Retry-After"] == "1"
    rates.take(8)
    clock.now += 0.5
    rates.take(7)
    with pytest.raises(HttpError):
        rates.take(7)


def test_no_rate_is_no_limit() -> None:
    rates = Rates(0, Clock())
    for _ in range(10_000):
        rates.take(7)
