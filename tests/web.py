"""A web of the tests: a server with a certificate on loopback, and a network that leads to it.

`Web.backend` connects every address, private ones too, to the one server, which counts: whatever
this service asks the network for is seen, and what it does not ask for leaves the count at 0.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpcore
import trustme

PUBLIC = "93.184.216.34"
Answer = Callable[[ssl.SSLSocket], None]


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> Answer:
    """A plain HTTP answer; `length` in place of the true one."""

    def write(connection: ssl.SSLSocket) -> None:
        told = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {told}", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode() + body)

    return write


def redirect(to: str) -> Answer:
    return answer(b"", f"Location: {to}", status="302 Found")


def dripping(start: bytes, byte: bytes, every_s: float) -> Answer:
    """`start`, then one byte after another, until the client goes away or a minute has passed."""

    def write(connection: ssl.SSLSocket) -> None:
        connection.sendall(start)
        for _ in range(int(60 / every_s)):
            connection.sendall(byte)
            time.sleep(every_s)

    return write


def endless(*headers: str) -> Answer:
    """A chunked body without end."""

    def write(connection: ssl.SSLSocket) -> None:
        lines = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        while True:
            connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    return write


@dataclass
class Web:
    port: int
    context: ssl.SSLContext
    pages: dict[str, Answer] = field(default_factory=dict)
    names: dict[str, Sequence[str]] = field(default_factory=dict)
    lookups: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)
    """Addresses that this service asked the network to connect to."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(server name in TLS, path) of each request."""
    accepted: int = 0

    def resolve(self, host: str, port: int) -> Sequence[str]:
        self.lookups.append(host)
        if host not in self.names:
            raise OSError("no such name")
        return self.names[host]

    @property
    def backend(self) -> httpcore.NetworkBackend:
        return _ToLoopback(self)


class _ToLoopback(httpcore.NetworkBackend):
    def __init__(self, web: Web) -> None:
        self._web = web
        self._real = httpcore.SyncBackend()

    def connect_tcp(  # type: ignore[override]
        self, host: str, port: int, timeout: float | None = None, *_: Any
    ) -> httpcore.NetworkStream:
        self._web.connected.append(host)
        return self._real.connect_tcp("127.0.0.1", self._web.port, timeout)


@contextmanager
def serving_web(names: Mapping[str, Sequence[str]]) -> Iterator[Web]:
    """A web whose names are those given; its pages are added by the test."""
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(*names).configure_cert(theirs)
    authority.configure_trust(ours)
    asked: dict[int, str] = {}
    theirs.sni_callback = lambda sock, name, _: asked.update({id(sock): name or ""})
    with socket.create_server(("127.0.0.1", 0)) as server:
        web = Web(server.getsockname()[1], ours, names=dict(names))

        def serve() -> None:
            with suppress(OSError):  # the server is closed at the end
                while True:
                    connection, _ = server.accept()
                    web.accepted += 1
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection: socket.socket) -> None:
            connection.settimeout(30)
            with suppress(OSError), theirs.wrap_socket(connection, server_side=True) as secure:
                head = b""
                while b"\r\n\r\n" not in head and (part := secure.recv(4096)):
                    head += part
                path = head.split()[1].decode() if head else ""
                web.requests.append((asked.get(id(secure), ""), path))
                web.pages.get(path, answer(b"", status="404 Not Found"))(secure)

        thread = threading.Thread(target=serve, name="web", daemon=True)
        thread.start()
        yield web
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
