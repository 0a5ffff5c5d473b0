"""Answers that stay open (streams, and waits for a job's end): so many at once in this process.

Each holds memory and a connection, and asks Postgres now and then, for as long as its client likes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.problems import HttpError
from repick.errors import RepickError

log = structlog.get_logger(__name__)

RETRY_S = 5


@dataclass(frozen=True, slots=True)
class OpenAnswers:
    """How many are open, by tenant. For one event loop."""

    total: int
    of_tenant: int
    _open: Counter[int] = field(default_factory=Counter)

    def room(self, tenant_id: int) -> bool:
        return self._open[tenant_id] < self.of_tenant and self._open.total() < self.total

    @contextmanager
    def held(self, tenant_id: int) -> Iterator[None]:
        """A place for one of the tenant's. Raises HttpError 429 `too_many_streams`."""
        if not self.room(tenant_id):
            detail = "too many streams are open: end one of yours, or try again later"
            raise HttpError(429, "too_many_streams", detail, {"Retry-After": str(RETRY_S)})
        self._open[tenant_id] += 1
        try:
            yield
        finally:
            self._open[tenant_id] -= 1


class Stream(StreamingResponse):
    """A streaming answer that has its place while it is sent; refused before anything is."""

    def __init__(
        self,
        places: OpenAnswers,
        tenant_id: int,
        content: AsyncIterator[bytes | str],
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._places, self._tenant_id = places, tenant_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._places.held(self._tenant_id):
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """What goes wrong once the answer has begun cuts it off: its client sees that it lacks an
        end."""
        try:
            await super().stream_response(send)
        except RepickError as exc:
            log.warning("answer broken off", code=exc.code, reason=exc.detail, **exc.ids)
