"""Images by address: fetched once, at the edge, from hosts that the operator allows.

Here and not in a worker, because a content is known by the hash of its bytes: an address has none
until it was read, and what it shows tomorrow is another content. So a job's promise covers exactly
the bytes of that moment, its caller hears at once what could not be had, and workers need no way
out. Not among the package's names: the decoder's process has no use for a network.
"""

from __future__ import annotations

import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpcore

from repick.content.address import ImageAddress, read_address
from repick.content.source import ImageSource
from repick.errors import AddressBlocked, ContentError, InvalidField, Unavailable
from repick.outbound import Pinned, Resolver, check_host, resolve

AT_ONCE = 8
REQUEST_LIMIT = 3
"""How many times its own limit all fetches of one request may take together."""
REDIRECTS = 3
_REDIRECT = frozenset({301, 302, 303, 307, 308})
_INFLATE = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}

PROBLEMS = {
    "address_blocked": "the address leads where this service may not go",
    "fetch_timeout": "the image did not arrive in time",
    "fetch_failed": "the address did not give an image",
    "too_large": "the image has more bytes than this service accepts",
}


def fetch_error(code: str, *, retryable: bool = False) -> ContentError:
    return ContentError(code, PROBLEMS[code], retryable=retryable)


@dataclass
class _Budget:
    """Bytes that one request may fetch in all: as many as its body might have held."""

    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, count: int) -> None:
        """Room for so many bytes; where there is less, none is taken. Raises ContentError."""
        with self.lock:
            if count > self.left:
                raise fetch_error("too_large")
            self.left -= count


class ImageFetcher:
    """Fetches from `hosts` alone; any thread may use it.

    `resolver`, `backend` and `context` are the seams to name service, network and certificates.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        max_bytes: int,
        max_bytes_together: int,
        seconds: float,
        resolver: Resolver = resolve,
        backend: httpcore.NetworkBackend | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.hosts = tuple(hosts)
        self._max_bytes = max_bytes
        self._together = max_bytes_together
        self._seconds = seconds
        self._resolver = resolver
        self._backend = backend
        self._context = context

    def fetch_many(self, addresses: Sequence[ImageAddress]) -> list[ImageSource | ContentError]:
        """What each address gives, or why it gives none, in the order given."""
        if not addresses:
            return []
        end = time.monotonic() + REQUEST_LIMIT * self._seconds
        budget = _Budget(self._together)

        def one(address: ImageAddress) -> ImageSource | ContentError:
            try:
                return self._fetch(address, min(end, time.monotonic() + self._seconds), budget)
            except ContentError as error:
                return error

        with ThreadPoolExecutor(min(AT_ONCE, len(addresses)), "fetch") as threads:
            return list(threads.map(one, addresses))

    def fetch(self, address: ImageAddress) -> ImageSource:
        """The bytes; raises ContentError with a code of PROBLEMS."""
        return self._fetch(address, time.monotonic() + self._seconds, _Budget(self._together))

    def _fetch(self, address: ImageAddress, deadline: float, budget: _Budget) -> ImageSource:
        for _ in range(REDIRECTS + 1):
            found = self._once(address, deadline, budget)
            if isinstance(found, bytes):
                # The type that a web server claims says little; the bytes' own counts.
                return ImageSource(found)
            address = found
        raise fetch_error("fetch_failed")

    def _once(
        self, address: ImageAddress, deadline: float, budget: _Budget
    ) -> bytes | ImageAddress:
        """The body, or where to go instead."""
        with _translated():
            addresses = check_host(address.host, 443, self._resolver)
            pinned = Pinned(addresses, deadline, self._backend)
            url = httpcore.URL(
                scheme="https", host=address.host, port=None, target=address.target.encode()
            )
            headers = [("Host", address.host), ("Accept", "image/*")]
            headers.append(("Accept-Encoding", "identity"))
            context = self._context or httpcore.default_ssl_context()
            with (
                httpcore.ConnectionPool(ssl_context=context, network_backend=pinned) as pool,
                pool.stream("GET", url, headers=headers) as answer,
            ):
                told = {name.lower(): value for name, value in answer.headers}
                if answer.status in _REDIRECT:
                    return self._redirected(address, told.get(b"location", b""))
                if answer.status != 200:
                    raise fetch_error("fetch_failed", retryable=answer.status >= 429)
                return self._body(answer.iter_stream(), told, budget)

    def _redirected(self, address: ImageAddress, location: bytes) -> ImageAddress:
        """Checked as the first address was; whatever is not allowed is blocked."""
        value = location.decode("ascii", "replace")
        if value.startswith("/") and not value.startswith("//"):
            value = f"https://{address.host}{value}"
        try:
            return read_address(value, "location", self.hosts)
        except InvalidField:
            raise fetch_error("address_blocked") from None

    def _body(self, parts: Iterable[bytes], told: dict[bytes, bytes], budget: _Budget) -> bytes:
        """All of it, decompressed where it was compressed unasked, never more than the cap.

        Room for an announced length is taken before any of it is read: else those that come
        together would leave none of them enough.
        """
        length = told.get(b"content-length", b"")
        room = int(length[:20]) if length.isdigit() else 0
        if room > self._max_bytes:
            raise fetch_error("too_large")
        budget.take(room)
        data = bytearray()
        for part in _plain(parts, told.get(b"content-encoding", b"identity"), self._max_bytes):
            data += part
            if len(data) > self._max_bytes:
                raise fetch_error("too_large")
            if len(data) > room:
                budget.take(len(data) - room)
                room = len(data)
        return bytes(data)


def _plain(parts: Iterable[bytes], coding: bytes, most: int) -> Iterator[bytes]:
    """The parts without their coding; none is longer than `most` and a byte."""
    coding = coding.strip().lower()
    if coding == b"identity":
        yield from parts
        return
    if coding not in _INFLATE:
        raise fetch_error("fetch_failed")
    inflate = zlib.decompressobj(_INFLATE[coding])
    try:
        for part in parts:
            yield inflate.decompress(part, most + 1)
            if inflate.unconsumed_tail:
                raise fetch_error("too_large")
    except zlib.error:
        raise fetch_error("fetch_failed") from None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except AddressBlocked:
        raise fetch_error("address_blocked") from None
    except httpcore.TimeoutException:
        raise fetch_error("fetch_timeout", retryable=True) from None
    except (Unavailable, httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError):
        raise fetch_error("fetch_failed", retryable=True) from None
