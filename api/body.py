"""The cap on requests' bodies: on each one's bytes and time, and on what all hold together."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import HttpError, problem

RETRY_S = 1
_CLOSE = {"Connection": "close"}
"""Closing cuts the stream: what the client still sends is not read."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bytes of one body and of all that are being read or worked on; seconds from a body's begin
    to its end, and without a byte of it."""

    each: int
    together: int
    seconds: float = 600.0
    idle_s: float = 20.0


@dataclass(slots=True)
class BodyLimit:
    """ASGI middleware: refuses before anything is read, or as soon as too much has arrived.

    413 `body_too_large`; 408 `body_timeout` for who sends too slowly; 503 `too_many_bodies` where
    the bodies of all requests would take more memory than they may.
    """

    app: ASGIApp
    limits: BodyLimits
    held: int = field(default=0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        length = int(announced[:20]) if announced.isascii() and announced.isdigit() else 0
        body = _Body(self, receive)
        try:
            body.reserve(length)
        except HttpError as exc:  # nothing is read, and the application never sees the request
            answer = problem(Request(scope), exc.status, exc.code, exc.detail, exc.headers)
            await answer(scope, receive, send)
            return
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.held -= body.reserved


@dataclass(slots=True)
class _Body:
    """One request's: what has arrived, and what it has of the memory that all share."""

    of: BodyLimit
    source: Receive
    reserved: int = 0
    received: int = 0
    complete: bool = False
    began: float = field(default_factory=time.monotonic)

    def reserve(self, length: int) -> None:
        """Have room for so many bytes. Raises HttpError 413 or 503."""
        limits = self.of.limits
        if length > limits.each:
            detail = f"the body is over {limits.each} bytes"
            raise HttpError(413, "body_too_large", detail, _CLOSE)
        more = max(0, length - self.reserved)
        if more and self.of.held and self.of.held + more > limits.together:
            detail = "other requests' bodies take all the room for them"
            raise HttpError(503, "too_many_bodies", detail, {**_CLOSE, "Retry-After": str(RETRY_S)})
        self.of.held += more
        self.reserved += more

    async def receive(self) -> Message:
        if self.complete:  # what is awaited now is the end of the connection
            return await self.source()
        message = await self._in_time()
        self.received += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        self.reserve(self.received)
        return message

    async def _in_time(self) -> Message:
        limits = self.of.limits
        left = self.began + limits.seconds - time.monotonic()
        try:
            async with asyncio.timeout(min(limits.idle_s, left)):
                return await self.source()
        except TimeoutError as exc:
            detail = "the body did not arrive in time"
            raise HttpError(408, "body_timeout", detail, _CLOSE) from exc
