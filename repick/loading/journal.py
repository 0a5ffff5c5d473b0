"""Which batches of a load have arrived, in a file: a load that was stopped goes on from there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from repick.loading.sources import Source


class Journal:
    """A line a batch; a half line at the end, from a crash, counts for nothing.

    It is of one source, one corpus and one API. Losing it costs time alone: items that are there
    already are left unchanged.
    """

    def __init__(self, folder: Path, api: str, corpus: str, source: Source) -> None:
        key = json.dumps([api, corpus, str(source.path.resolve()), source.fingerprint])
        self.file = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.load"

    def arrived(self) -> frozenset[int]:
        try:
            lines = self.file.read_text().split("\n")[:-1]
        except FileNotFoundError:
            return frozenset()
        return frozenset(int(line) for line in lines)

    def add(self, batch: int) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            file.write(f"{batch}\n")

    def close(self) -> None:
        """The whole source has arrived."""
        self.file.unlink(missing_ok=True)
