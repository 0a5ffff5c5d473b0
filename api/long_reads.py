"""Reads of many rankings at once: few at a time, so that polls have threads and connections."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TypeVar

from anyio import to_thread
from fastapi import Request

from api.auth import look_again
from api.open_answers import Stream
from api.services import Services

ASK_AGAIN_S = 1.0
"""How long a stream goes on before it asks whether its key still lives."""
Answer = TypeVar("Answer")


async def in_turn(services: Services, work: Callable[[], Answer]) -> Answer:
    """`work`'s answer, from a thread, once it is its turn among all long reads."""
    return await to_thread.run_sync(work, limiter=services.long_reads)


def streamed(
    request: Request,
    services: Services,
    tenant_id: int,
    pieces: Iterator[bytes | str],
    media_type: str,
    headers: Mapping[str, str] | None = None,
) -> Stream:
    """An answer whose pieces are made as they are sent, each in its turn; sending takes none.

    It breaks off once its key has ended.
    """
    content = _in_turns(request, services, pieces)
    return Stream(services.open_answers, tenant_id, content, media_type, headers)


async def _in_turns(
    request: Request, services: Services, pieces: Iterator[bytes | str]
) -> AsyncIterator[bytes | str]:
    asked = time.monotonic()

    def piece() -> bytes | str | None:
        nonlocal asked
        if time.monotonic() - asked >= ASK_AGAIN_S:
            look_again(request, services)
            asked = time.monotonic()
        return next(pieces, None)

    while (made := await in_turn(services, piece)) is not None:
        yield made
