"""Whoever polls goes before whoever submits, and neither waits for good."""

from __future__ import annotations

import asyncio
import threading

from api.turns import LEAST, MOST, Shared, Turns


class Held:
    """Work that goes on until it is let go, and counts who has begun."""

    def __init__(self) -> None:
        self.begun = 0
        self._lock, self._gate = threading.Lock(), threading.Event()

    def __call__(self) -> None:
        with self._lock:
            self.begun += 1
        assert self._gate.wait(20)

    def let_go(self) -> None:
        self._gate.set()


async def _reached(work: Held, begun: int) -> None:
    async with asyncio.timeout(20):
        while work.begun < begun:
            await asyncio.sleep(0.001)


async def _begun_submits(polling: int, submitting: int) -> int:
    """How many of so many submits are at work while so many polls are."""
    turns, polls, submits = Turns(), Held(), Held()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(polling):
            tasks.create_task(turns.poll(polls))
        await _reached(polls, polling)
        for _ in range(submitting):
            tasks.create_task(turns.submit(submits))
        await _reached(submits, min(submitting, max(LEAST, MOST - polling)))
        late = Held()
        late.let_go()
        await turns.poll(late)  # a round through the loop and a thread: who could begin has begun
        begun = submits.begun
        polls.let_go()
        submits.let_go()
    assert submits.begun == submitting
    return begun


def test_submits_have_what_polls_leave() -> None:
    assert asyncio.run(_begun_submits(polling=0, submitting=20)) == MOST
    assert asyncio.run(_begun_submits(polling=3, submitting=20)) == MOST - 3


def test_a_flood_of_polls_leaves_submits_a_few_turns_and_delays_no_poll() -> None:
    assert asyncio.run(_begun_submits(polling=30, submitting=20)) == LEAST


def test_a_poll_that_fails_gives_its_turn_back() -> None:
    async def story() -> None:
        turns = Turns()
        for _ in range(2 * MOST):
            try:
                await turns.poll(_fail)
            except ZeroDivisionError:
                continue
        submits = Held()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(MOST):
                tasks.create_task(turns.submit(submits))
            await _reached(submits, MOST)
            submits.let_go()

    asyncio.run(story())


def test_a_tenant_has_its_share_and_leaves_the_rest_to_others() -> None:
    async def story() -> None:
        shared, mine, others = Shared(4, of_tenant=2), Held(), Held()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(9):
                tasks.create_task(shared.run(1, mine))
            await _reached(mine, 2)
            tasks.create_task(shared.run(2, others))
            await _reached(others, 1)
            assert mine.begun == 2
            mine.let_go()
            others.let_go()
        assert mine.begun == 9

    asyncio.run(story())


def _fail() -> None:
    raise ZeroDivisionError
