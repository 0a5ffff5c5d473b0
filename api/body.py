"""The cap on a request's body: by its announced length, or by counting what arrives."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import HttpError, problem


def _too_large(limit: int) -> HttpError:
    detail = f"the body is over {limit} bytes"
    # Closing cuts the stream: what the client still sends is not read.
    return HttpError(413, "body_too_large", detail, {"Connection": "close"})


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """ASGI middleware: 413 before anything is read, or as soon as too much has arrived."""

    app: ASGIApp
    limit: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length[:20]) > self.limit:
            error = _too_large(self.limit)
            answer = problem(Request(scope), 413, error.code, error.detail, error.headers)
            await answer(scope, receive, send)
            return
        await self.app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise _too_large(self.limit)
            return message

        return counted
