"""Requests to the API: retried where that is safe, with errors that say what the API said."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

import httpx

from repick.errors import RepickError, Unavailable

ATTEMPTS = 6
LONGEST_PAUSE_S = 30.0
_AGAIN = frozenset({429, 503})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ApiError(RepickError):
    """The API's answer to a request that it refused; `code` is stable, for programs."""

    def __init__(self, status: int, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.status = status
        self.field = field


class Transport:
    """One API's address and key, with a pool of connections; safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout_s: float = 90.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        url = httpx.URL(base_url)
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            transport=transport,
            trust_env=url.host not in _LOOPBACK,  # a proxy has no business there
        )

    def close(self) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Any:
        """The answer's JSON, None where it has none.

        A busy or unreachable API is asked again, with growing pauses or after the time that it
        names; an answer that was lost on the way only for `repeatable` requests.

        Raises:
            ApiError: the API refused.
            Unavailable: it could not be reached.
        """
        request = self._http.build_request(
            method, path, json=body, params=query, headers=dict(headers or {})
        )
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                response = self._http.send(request)
            except httpx.TransportError as exc:
                unsent = isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout)
                if last or not (unsent or repeatable):
                    raise _unreachable(self._http.base_url, exc) from exc
                time.sleep(_pause(attempt, None))
                continue
            if response.status_code not in _AGAIN or last:
                return _answer(response)
            time.sleep(_pause(attempt, response.headers.get("retry-after")))
        raise AssertionError("the last attempt returns or raises")


def _pause(attempt: int, retry_after: str | None) -> float:
    """Seconds: what the API says, or 0.25 doubling, with jitter so that clients part."""
    if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:9]), LONGEST_PAUSE_S)
    return min(0.25 * float(2**attempt), LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311


def _unreachable(url: httpx.URL, exc: httpx.TransportError) -> Unavailable:
    return Unavailable(f"the API at {url} cannot be reached ({type(exc).__name__})")


def _answer(response: httpx.Response) -> Any:
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
