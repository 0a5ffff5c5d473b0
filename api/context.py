"""Around every request: its id, headers, one log line without the query string, its figures."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import RequestFigures
from api.problems import DOCS_POLICY, SECURITY_HEADERS
from repick import telemetry

log = structlog.get_logger("api.requests")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})


@dataclass(frozen=True, slots=True)
class RequestContext:
    """ASGI middleware; a request id that the client sends is kept where it is harmless."""

    app: ASGIApp
    figures: RequestFigures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status, started = 500, time.perf_counter()

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, request_id, scope["path"])
            await send(message)

        running = self.figures.running.track_inprogress()
        above = telemetry.parsed(Headers(scope=scope).get("traceparent"))
        with (
            running,
            structlog.contextvars.bound_contextvars(request_id=request_id),
            telemetry.span("repick.request", above, method=scope["method"], path=scope["path"]),
        ):
            try:
                await self.app(scope, receive, answered)
            finally:
                self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self.figures.record(scope["method"], route, status, seconds)
        if scope["path"] not in _QUIET:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round(seconds * 1000, 1),
            )


def _add_headers(message: Message, request_id: str, path: str) -> None:
    headers = MutableHeaders(scope=message)
    if path == "/docs":
        headers["Content-Security-Policy"] = DOCS_POLICY
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers["X-Request-ID"] = request_id
