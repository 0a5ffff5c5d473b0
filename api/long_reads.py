"""Reads of many rankings at once: few at a time, so that polls have threads and connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TypeVar

from anyio import to_thread
from fastapi.responses import StreamingResponse

from api.services import Services

Answer = TypeVar("Answer")


async def in_turn(services: Services, work: Callable[[], Answer]) -> Answer:
    """`work`'s answer, from a thread, once it is its turn among all long reads."""
    return await to_thread.run_sync(work, limiter=services.long_reads)


def streamed(
    services: Services,
    pieces: Iterator[bytes | str],
    media_type: str,
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """An answer whose pieces are made as they are sent, each in its turn; sending takes none."""
    return StreamingResponse(_in_turns(services, pieces), media_type=media_type, headers=headers)


async def _in_turns(
    services: Services, pieces: Iterator[bytes | str]
) -> AsyncIterator[bytes | str]:
    while (piece := await in_turn(services, lambda: next(pieces, None))) is not None:
        yield piece
