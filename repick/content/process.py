"""The decoder's own process, as its parent sees it: started, asked, and killed when it misbehaves.

Started by command line and not through `multiprocessing`: nothing is pickled in either direction,
the parent's main module is not run a second time, and a daemonic parent may start one as well.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from dataclasses import asdict

from repick.content.image import ImagePolicy
from repick.errors import Unavailable

REQUEST = struct.Struct("!HI")
"""Lengths of the declared media type and of the image; both follow."""
REPLY = struct.Struct("!24sII")
"""A media type with its upright width and height, or an error's code with two zeros."""
READY = b"ready"

_START_LIMIT = 60.0
_ORPHAN_GRACE = 5.0
_PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "LANG")


class DecoderProcess:
    """One child; used by one thread at a time."""

    def __init__(self, policy: ImagePolicy, time_limit: float, module: str) -> None:
        """Start the child and wait until it is ready; raises Unavailable where it is not."""
        self._time_limit = time_limit
        options = {"policy": asdict(policy), "time_limit": time_limit + _ORPHAN_GRACE}
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-m", module, json.dumps(options)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
            )
        self._await_ready()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, data: bytes, declared_type: str) -> tuple[str, int, int]:
        """(media type or error code, width, height).

        Raises TimeoutError when the child takes longer than the time limit, ConnectionError when
        it has died; it is of no use after either.
        """
        deadline = time.monotonic() + self._time_limit
        declared = declared_type.encode("ascii", "replace")[:255]
        self._send(REQUEST.pack(len(declared), len(data)) + declared, deadline)
        self._send(data, deadline)
        return self._receive(deadline)

    def kill(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _await_ready(self) -> None:
        try:
            answer = self._receive(time.monotonic() + _START_LIMIT)
        except OSError as exc:
            self.kill()
            raise Unavailable("the image decoder's process does not start") from exc
        if answer[0] != READY.decode():
            self.kill()
            raise Unavailable("the image decoder's process does not start")

    def _send(self, data: bytes, deadline: float) -> None:
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(data)

    def _receive(self, deadline: float) -> tuple[str, int, int]:
        answer = b""
        while len(answer) < REPLY.size:
            self._socket.settimeout(_left(deadline))
            part = self._socket.recv(REPLY.size - len(answer))
            if not part:
                raise ConnectionResetError("the decoder's process has ended")
            answer += part
        name, width, height = REPLY.unpack(answer)
        return name.rstrip(b"\0").decode("ascii", "replace"), width, height


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _environment() -> dict[str, str]:
    """Where to find its modules, and none of our secrets."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {**kept, "PYTHONPATH": path}
