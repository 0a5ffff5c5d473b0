"""A small HTTP/1.1 client for load: one connection, kept open, almost no cost of its own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from repick.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Http:
    """Raises Unavailable on any status that was not expected: a benchmark of errors is none."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str

    @classmethod
    async def open(cls, port: int, key: str) -> Http:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        return cls(reader, writer, head)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    async def get(self, path: str, *, wait_s: int = 0) -> Answer:
        prefer = f"Prefer: wait={wait_s}\r\n" if wait_s else ""
        return await self._send(f"GET {path} HTTP/1.1\r\n{prefer}", b"", (200,))

    async def post(self, path: str, value: object) -> Answer:
        return await self._send(f"POST {path} HTTP/1.1\r\n", _body(value), (201, 202))

    async def put(self, path: str, value: object) -> Answer:
        return await self._send(f"PUT {path} HTTP/1.1\r\n", _body(value), (200,))

    async def _send(self, start: str, body: bytes, expected: tuple[int, ...]) -> Answer:
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self.writer.write(f"{start}{self.head}{kind}\r\n".encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
        answer = Answer(int(head.split(" ", 2)[1]), await self.reader.readexactly(length))
        if answer.status not in expected:
            said = answer.body[:300].decode(errors="replace")
            raise Unavailable(f"{start.strip()} was answered {answer.status}: {said}")
        return answer


def _body(value: object) -> bytes:
    return json.dumps(value).encode()
