"""Bodies: what one may have and take, and what all may hold together."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from api.body import BodyLimit, BodyLimits
from api.problems import HttpError

LIMITS = BodyLimits(each=100, together=150, seconds=5, idle_s=0.05)


class Application:
    """Reads the body; holds it until it is let go."""

    def __init__(self) -> None:
        self.go, self.read = asyncio.Event(), asyncio.Event()
        self.bodies: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message.get("more_body", False)
        self.bodies.append(size)
        self.read.set()
        await self.go.wait()


def scope(length: int | None) -> Scope:
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return {"type": "http", "path": "/", "method": "POST", "headers": headers}


def arriving(*sizes: int) -> Receive:
    chunks = list(sizes)

    async def receive() -> Message:
        if not chunks:
            await asyncio.Event().wait()
        size = chunks.pop(0)
        return {"type": "http.request", "body": b"x" * size, "more_body": bool(chunks)}

    return receive


async def answer(limit: BodyLimit, length: int | None, receive: Receive) -> tuple[int, str] | None:
    """(status, code) where it is refused before the application."""
    sent: list[Any] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await limit(scope(length), receive, send)
    return (sent[0]["status"], json.loads(sent[1]["body"])["code"]) if sent else None


def test_what_all_hold_together_is_bounded_and_given_back() -> None:
    async def run() -> None:
        application = Application()
        limit = BodyLimit(application, LIMITS)
        first = asyncio.create_task(answer(limit, 80, arriving(80)))
        await application.read.wait()
        assert limit.held == 80
        assert await answer(limit, 80, arriving(80)) == (503, "too_many_bodies")
        application.go.set()
        assert await first is None
        assert limit.held == 0
        assert await answer(limit, 80, arriving(80)) is None
        assert application.bodies == [80, 80]

    asyncio.run(run())


def test_a_body_that_did_not_say_its_length_is_counted_as_it_arrives() -> None:
    async def run() -> None:
        application = Application()
        limit = BodyLimit(application, LIMITS)
        first = asyncio.create_task(answer(limit, 100, arriving(100)))
        await application.read.wait()
        with pytest.raises(HttpError) as refused:
            await answer(limit, None, arriving(40, 40))
        assert (refused.value.status, refused.value.code) == (503, "too_many_bodies")
        assert limit.held == 100
        application.go.set()
        await first
        with pytest.raises(HttpError) as refused:
            await answer(limit, None, arriving(60, 60))
        assert (refused.value.status, refused.value.code) == (413, "body_too_large")
        assert limit.held == 0

    asyncio.run(run())


def test_too_much_is_refused_unread() -> None:
    async def run() -> None:
        limit = BodyLimit(Application(), LIMITS)
        assert await answer(limit, 101, arriving()) == (413, "body_too_large")

    asyncio.run(run())


def test_who_stops_sending_is_not_waited_for() -> None:
    async def run() -> None:
        limit = BodyLimit(Application(), LIMITS)

        async def silent() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        with pytest.raises(HttpError) as refused:
            await answer(limit, 10, silent)
        assert (refused.value.status, refused.value.code) == (408, "body_timeout")
        assert limit.held == 0

    asyncio.run(run())
