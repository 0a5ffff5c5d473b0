"""Ways out: which addresses this service may connect to when somebody else names the host.

A name is resolved once, every address it has must be global, and the connection then goes to an
address of that answer (`Pinned`): a second look-up could be told something else.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from repick.errors import AddressBlocked, Unavailable

Resolver = Callable[[str, int], Sequence[str]]
"""(host, port) to its addresses; raises OSError where the name has none."""

_TUNNELS = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"),
        *("2001::/32", "2002::/16"),
    )
)
"""IPv6 that stands for an IPv4 address (mapped, NAT64, 6to4, Teredo): it may lead inside."""


def resolve(host: str, port: int) -> Sequence[str]:
    """The system's own answer for TCP. Raises OSError where the name has no address."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:  # a label that is empty or too long for IDNA
        raise OSError("no such name") from exc
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def is_global(address: str) -> bool:
    """Whether an address lies on the public internet: no private, shared, link-local, multicast
    or reserved one, and no IPv6 form of an IPv4 address."""
    try:
        one = ipaddress.ip_address(address)
    except ValueError:  # also an address with a zone, as in fe80::1%eth0
        return False
    if isinstance(one, ipaddress.IPv6Address) and (
        one.scope_id or one.is_site_local or any(one in tunnel for tunnel in _TUNNELS)
    ):
        return False
    return one.is_global and not (one.is_multicast or one.is_reserved or one.is_unspecified)


def check_host(host: str, port: int, resolver: Resolver = resolve) -> list[str]:
    """The addresses of `host`, looked up once; all of them are global.

    Raises AddressBlocked when any is not, Unavailable where the name has none (`unknown_host`).
    """
    try:
        addresses = list(resolver(host, port))
    except OSError as exc:
        raise Unavailable("the host has no address", code="unknown_host", host=host) from exc
    if not addresses:
        raise Unavailable("the host has no address", code="unknown_host", host=host)
    if not all(is_global(address) for address in addresses):
        raise AddressBlocked("the host has an address that is not public", host=host)
    return addresses


class Pinned(httpcore.NetworkBackend):
    """Connects to addresses that were checked, whatever the URL's host says, until a deadline.

    The host stays in the URL, so the server's certificate is checked against it and the `Host`
    header carries it. The deadline (of time.monotonic) bounds the whole exchange: one byte a
    second, in headers or body, does not outlast it.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        deadline: float,
        backend: httpcore.NetworkBackend | None = None,
    ) -> None:
        self._addresses = list(addresses)
        self._deadline = deadline
        self._backend = backend or httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        error: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in self._addresses:
            try:
                left = _left(self._deadline, httpcore.ConnectTimeout)
                stream = self._backend.connect_tcp(address, port, left, local_address)
                return _Timed(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                error = exc
        raise error or httpcore.ConnectError("there is no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        raise httpcore.ConnectError("no way out through a socket of this machine")


class _Timed(httpcore.NetworkStream):
    """A stream whose every step ends at one deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, error: type[httpcore.TimeoutException]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise error("the deadline has passed")
    return left
