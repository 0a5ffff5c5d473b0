"""The decoder's own process: reads images from a socket, answers with a verdict each.

Run as `python -m repick.content.child OPTIONS` with the socket as standard input. It holds no
secret, opens no file, and cannot grow: a hostile image can end this process and nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
from io import BufferedIOBase
from pathlib import Path

from repick.content.image import ImagePolicy, inspect_image
from repick.content.process import READY, REPLY, REQUEST
from repick.errors import ContentError

MEMORY_LIMIT = 1536 * 1024 * 1024
"""Address space beyond that of the started process: a turned image of 49 million pixels with alpha
was seen to take 620 MB (Pillow holds 4 bytes a pixel, and up to three images of it at once)."""


def main() -> None:
    options = json.loads(sys.argv[1])
    policy = ImagePolicy(**options["policy"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_resources()
    connection = socket.socket(fileno=os.dup(0))
    connection.sendall(REPLY.pack(READY, 0, 0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    with connection, connection.makefile("rb") as stream:
        while request := read_request(stream):
            signal.setitimer(signal.ITIMER_REAL, options["time_limit"])
            connection.sendall(verdict(*request, policy))
            signal.setitimer(signal.ITIMER_REAL, 0)


def read_request(stream: BufferedIOBase) -> tuple[bytes, str] | None:
    """(image, declared type), or None when the parent has gone."""
    head = stream.read(REQUEST.size)
    if len(head) < REQUEST.size:
        return None
    type_length, data_length = REQUEST.unpack(head)
    declared = stream.read(type_length).decode("ascii", "replace")
    return stream.read(data_length), declared


def verdict(data: bytes, declared: str, policy: ImagePolicy) -> bytes:
    try:
        media = inspect_image(data, declared, policy)
    except ContentError as error:
        return REPLY.pack(error.code.encode(), 0, 0)
    except MemoryError:
        return REPLY.pack(b"decode_error", 0, 0)
    return REPLY.pack(media.media_type.encode(), media.width, media.height)


def limit_resources() -> None:
    """No core dumps, no files; on Linux the address space too (macOS does not enforce it)."""
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(what, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_LIMIT
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
