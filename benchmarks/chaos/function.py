"""What the chaos workers compute: pure functions of text, so that every result can be foretold."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

POISON = "poison"
"""A query that begins so kills the worker that scores it."""


def margin(query: str, document: str) -> float:
    """Uniform in [−4, 4), 48 bits of SHA-256: no two pairs of a run tie."""
    digest = hashlib.sha256(f"{query}\0{document}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48 * 8 - 4


def record_poisoned(folder: Path) -> None:
    """Say that this process is about to die of what it scores."""
    (folder / f"poisoned-{os.getpid()}").touch()


def poisoned(folder: Path) -> set[int]:
    """The pids of processes that died so."""
    return {int(path.name.partition("-")[2]) for path in folder.glob("poisoned-*")}


@dataclass(frozen=True, slots=True)
class Call:
    """One batch that a scorer has computed, whether or not it was committed then."""

    pid: int
    at: float
    """Of the monotonic clock, which all processes of a machine share."""
    pairs: tuple[tuple[str, str], ...]


def record(folder: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Append a batch to this process's log in one write; kill -9 loses none that was written."""
    line = json.dumps([os.getpid(), time.monotonic(), list(pairs)]) + "\n"
    descriptor = os.open(
        folder / f"calls-{os.getpid()}.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600
    )
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def calls(folder: Path) -> list[Call]:
    """Every batch of every worker, the oldest first."""
    lines = [line for log in folder.glob("calls-*.jsonl") for line in log.read_text().splitlines()]
    found = (json.loads(line) for line in lines)
    made = [Call(pid, at, tuple((q, d) for q, d in pairs)) for pid, at, pairs in found]
    return sorted(made, key=lambda call: call.at)
