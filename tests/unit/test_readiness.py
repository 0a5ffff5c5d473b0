"""What a look at the servers found is told to all who ask meanwhile or soon after."""

from __future__ import annotations

import asyncio

from api.readiness import FRESH_S, Readiness
from tests.unit.test_backpressure import Clock


def test_an_answer_is_told_again_only_while_it_is_fresh() -> None:
    async def story() -> None:
        clock, looks = Clock(), iter(({"status": "unavailable"}, {"status": "ok"}))
        readiness = Readiness(lambda: next(looks), clock)
        first = await readiness.answer()
        clock.now += 0.9 * FRESH_S
        assert await readiness.answer() == first == {"status": "unavailable"}
        clock.now += 0.2 * FRESH_S
        assert await readiness.answer() == {"status": "ok"}

    asyncio.run(story())
