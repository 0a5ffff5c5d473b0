"""Requests to the API: retried where that is safe, with errors that say what the API said."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import httpx

from repick.client.answers import AGAIN, LOOPBACK, answer_of, pause, unreachable

ATTEMPTS = 6


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
            trust_env=url.host not in LOOPBACK,  # a proxy has no business there
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
                    raise unreachable(self._http.base_url, exc) from exc
                time.sleep(pause(attempt, None))
                continue
            if response.status_code not in AGAIN or last:
                return answer_of(response)
            time.sleep(pause(attempt, response.headers.get("retry-after")))
        raise AssertionError("the last attempt returns or raises")

    def every(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """The items of a list, page by page as they are asked for. Raises as `request` does."""
        page = self.request("GET", path, query=query)
        while True:
            for one in page["items"]:  # noqa: UP028  (its async twin is made of this)
                yield one
            if page["next"] is None:
                return
            page = self.request("GET", page["next"])

    def save(self, path: str, target: BinaryIO, query: Mapping[str, Any] | None = None) -> None:
        """Write an answer's bytes into a file as they arrive; asked once.

        Raises as `request` does; what arrived before a broken connection is in the file.
        """
        try:
            response = self._http.send(
                self._http.build_request("GET", path, params=query), stream=True
            )
            try:
                if not response.is_success:
                    response.read()
                    answer_of(response)
                for piece in response.iter_bytes():
                    target.write(piece)
            finally:
                response.close()
        except httpx.TransportError as exc:
            raise unreachable(self._http.base_url, exc) from exc
