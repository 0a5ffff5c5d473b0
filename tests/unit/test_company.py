"""Whoever is alone in a worker process is alone, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from worker.company import Company


class Visit:
    """A stay in the company, by a thread of its own, until it is told to end."""

    def __init__(self, pool: ThreadPoolExecutor, enter: Callable[[], object]) -> None:
        self.begun, self._leave = threading.Event(), threading.Event()
        self._enter = enter
        self.done: Future[None] = pool.submit(self._stay)

    def _stay(self) -> None:
        with self._enter():  # type: ignore[attr-defined]
            self.begun.set()
            assert self._leave.wait(60)

    def end(self) -> None:
        self._leave.set()

    def ended(self) -> None:
        self.end()
        self.done.result(20)


@pytest.fixture
def company() -> Company:
    return Company()


@contextmanager
def visits(company: Company, *kinds: str) -> Iterator[list[Visit]]:
    """Visits of these kinds, each asked for when the one before has begun or waits."""
    with ThreadPoolExecutor(len(kinds)) as pool:
        made: list[Visit] = []
        try:
            for kind in kinds:
                made.append(Visit(pool, getattr(company, kind)))
                made[-1].begun.wait(0.1)  # where it cannot begin, it waits by then
            yield made
        finally:
            for visit in made:
                visit.end()


def test_many_are_beside_each_other(company: Company) -> None:
    with visits(company, *["beside_others"] * 3) as made:
        assert all(visit.begun.wait(20) for visit in made)


def test_whoever_is_alone_waits_for_all_and_all_wait_for_it(company: Company) -> None:
    with visits(company, "beside_others", "beside_others", "alone", "beside_others") as made:
        one, two, alone, late = made
        assert not late.begun.is_set()
        one.ended()
        assert not alone.begun.is_set()
        two.ended()
        assert alone.begun.wait(20)
        assert not late.begun.is_set()
        alone.ended()
        assert late.begun.wait(20)


def test_two_are_alone_one_after_the_other(company: Company) -> None:
    with visits(company, "alone", "alone", "beside_others") as (one, two, late):
        assert one.begun.wait(20)
        assert not two.begun.is_set()
        one.ended()
        assert two.begun.wait(20)
        assert not late.begun.is_set()
        two.ended()
        assert late.begun.wait(20)


def test_an_error_inside_leaves_the_company(company: Company) -> None:
    for enter in (company.alone, company.beside_others, company.alone):
        with pytest.raises(RuntimeError), enter():
            raise RuntimeError
