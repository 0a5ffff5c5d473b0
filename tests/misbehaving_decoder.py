"""A decoder's process that an image can make misbehave, as a hostile file might the real one.

Run by ImageInspector in place of repick.content.child; what it does is the image's own text.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

from repick.content import ImagePolicy
from repick.content.child import read_request, verdict
from repick.content.process import READY, REPLY

ANSWERS = {
    b"lie": REPLY.pack(b"\xff/../secret", 1, 1),
    b"wrong": REPLY.pack(b"text/html", 1, 1),
}


def main() -> None:
    policy = ImagePolicy(**json.loads(sys.argv[1])["policy"])
    connection = socket.socket(fileno=os.dup(0))
    connection.sendall(REPLY.pack(READY, 0, 0))
    with connection, connection.makefile("rb") as stream:
        while request := read_request(stream):
            if request[0] == b"die":
                os._exit(1)
            if request[0] == b"hang":
                time.sleep(60)
            connection.sendall(ANSWERS.get(request[0]) or verdict(*request, policy))


if __name__ == "__main__":
    main()
