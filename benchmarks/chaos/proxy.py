"""A small TCP proxy in front of a server: delays, and connections that end or fall silent."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable


class Proxy:
    """Forwards a loopback port to another; a context manager."""

    def __init__(self, target: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.delay_s = (0.0, 0.0)
        """Each chunk, either way, waits a time between these two before it goes on."""
        self._sleep = sleep
        self._silenced_before = -1.0
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for one in list(self._open):
            _close(one)

    def silence(self) -> None:
        """Connections of now go half-open: their bytes vanish, nobody is told. New ones work."""
        self._silenced_before = time.monotonic()

    def reset(self) -> None:
        """Connections of now end at once, and nobody is told that they would."""
        for one in list(self._open):
            with contextlib.suppress(OSError):  # it has just ended by itself
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RD)  # wakes whoever reads; nothing is sent
                one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed: the proxy ends
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=2)
            except OSError:
                client.close()  # as a server that is down refuses
                continue
            server.settimeout(None)
            self._open |= {client, server}
            for ends in ((client, server), (server, client)):
                threading.Thread(
                    target=self._pump, args=(*ends, time.monotonic()), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, opened: float) -> None:
        with contextlib.suppress(OSError):  # either end went away, which ends the other
            while data := source.recv(65536):
                self._sleep(random.uniform(*self.delay_s))
                if opened > self._silenced_before:
                    sink.sendall(data)
        if opened > self._silenced_before:  # the others stay open until the proxy ends
            _close(source)
            _close(sink)
            self._open -= {source, sink}


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):  # not connected any more
        one.shutdown(socket.SHUT_RDWR)
    one.close()
