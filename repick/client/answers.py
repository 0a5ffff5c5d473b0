"""What the API's answers mean to a client: errors, pauses, values."""

from __future__ import annotations

import random
from typing import Any

import httpx

from repick.errors import RepickError, Unavailable

LONGEST_PAUSE_S = 30.0
AGAIN = frozenset({429, 503})
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ApiError(RepickError):
    """The API's answer to a request that it refused; `code` is stable, for programs."""

    def __init__(self, status: int, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.status = status
        self.field = field


def pause(attempt: int, retry_after: str | None) -> float:
    """Seconds: what the API says, or 0.25 doubling, with jitter so that clients part."""
    if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:9]), LONGEST_PAUSE_S)
    return min(0.25 * float(2**attempt), LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311


def unreachable(url: httpx.URL, exc: httpx.TransportError) -> Unavailable:
    return Unavailable(f"the API at {url} cannot be reached ({type(exc).__name__})")


def answer_of(response: httpx.Response) -> Any:
    if response.is_success:
        return response.json() if response.content else None
    try:
        said = response.json()
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    raise ApiError(
        response.status_code,
        said.get("code", "unknown_error"),
        said.get("detail", response.reason_phrase),
        said.get("field"),
    )
