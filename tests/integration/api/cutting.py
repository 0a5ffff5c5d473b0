"""A TCP proxy before Postgres that cuts the connection at the next commit, before or after it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

COMMIT = b"COMMIT\x00"
STATEMENT = b"WITH held AS"
"""What a submit is that needs no transaction around it: the statement commits by itself."""


class Cut(StrEnum):
    BEFORE = "before"  # the server never sees it
    AFTER = "after"  # it commits, and nobody hears of it


@dataclass
class CuttingProxy:
    target: tuple[str, int]
    armed: Cut | None = None
    at: bytes = COMMIT
    cuts: int = 0
    stay_down: bool = False
    """After the cut, refuse every connection."""
    _listener: socket.socket = field(default_factory=socket.socket)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.stay_down and self.cuts:
                client.close()
                continue
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server:
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    if one is client and self.armed and self.at in data:
                        self._cut(server, data)
                        return
                    (server if one is client else client).sendall(data)

    def _cut(self, server: socket.socket, data: bytes) -> None:
        cut, self.armed = self.armed, None
        if cut is Cut.AFTER:
            server.sendall(data)
            server.recv(65536)  # it has answered, so it has committed
        self.cuts += 1


@contextlib.contextmanager
def cutting(host: str, port: int) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy((host, port))
    proxy._listener.bind(("127.0.0.1", 0))
    proxy._listener.listen()
    thread = threading.Thread(target=proxy.serve)
    thread.start()
    try:
        yield proxy
    finally:
        proxy._listener.shutdown(socket.SHUT_RDWR)
        proxy._listener.close()
        thread.join()
