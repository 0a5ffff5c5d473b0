"""The real fine worker, held after some pairs: `python -m tests.acceptance.gated FILE`.

While FILE holds a number, each worker scores so many pairs since it first saw the file, finishes
the batch that reaches it, and waits in front of the next. A test can so kill it under way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repick.jobs import PairScore
from worker import __main__ as worker
from worker.score import SliceScorer


class Gated:
    """A model behind the gate; all else is the model's own."""

    def __init__(self, model: Any, gate: Path) -> None:
        self._model, self._gate, self._scored = model, gate, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def score(self, pairs: Sequence[Any]) -> list[PairScore]:
        while (most := self._most()) is not None and self._scored >= most:
            time.sleep(0.005)
        self._scored = 0 if most is None else self._scored + len(pairs)
        scores: list[PairScore] = self._model.score(pairs)
        return scores

    def _most(self) -> int | None:
        try:
            return int(self._gate.read_text())
        except FileNotFoundError:
            return None


if __name__ == "__main__":
    path = Path(sys.argv[1])
    worker.SliceScorer = lambda runtime, model, *rest: SliceScorer(  # type: ignore[misc, assignment]
        runtime, Gated(model, path), *rest
    )
    sys.exit(worker.main(["fine"]))
