"""A real worker with a scorer that is a pure function: `python -m benchmarks.chaos.worker fine`.

REPICK_CHAOS_PAIR_MS makes each pair slow; REPICK_CHAOS_CALLS is the file that gets a line for each
pair that was scored; REPICK_CHAOS_WITHOUT=fencing takes the check of a slice's token away, to show
that the harness sees what happens then.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from sqlalchemy import text

from benchmarks import fake_worker
from benchmarks.chaos.function import POISON, margin, score
from repick.content import LoadedContent
from repick.jobs import PairScore
from repick.specs import ScorerSpec
from repick.store import slices

PAIR_MS, CALLS, WITHOUT = "REPICK_CHAOS_PAIR_MS", "REPICK_CHAOS_CALLS", "REPICK_CHAOS_WITHOUT"


@dataclass(frozen=True, slots=True)
class ChaosPair:
    query: str
    document: str
    length: int = 1


@dataclass(frozen=True, slots=True)
class ChaosModel:
    """Scores by `function.py`, one line of the call log a pair, written before it is committed."""

    specs: tuple[ScorerSpec, ...] = (fake_worker.SCORER,)
    provenance: Mapping[str, str] = field(default_factory=lambda: {"device": "none"})

    def prepare(self, query: LoadedContent, document: LoadedContent, spec: ScorerSpec) -> ChaosPair:
        return ChaosPair(query.text or "", document.text or "")

    def score(self, pairs: Sequence[ChaosPair]) -> list[PairScore]:
        if any(pair.query.startswith(POISON) for pair in pairs):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ[PAIR_MS]) / 1000 * len(pairs))
        batch = f"{os.getpid()}-{time.monotonic_ns()}"
        lines = [f"{batch}\t{pair.query}\t{pair.document}\n" for pair in pairs]
        with open(os.environ[CALLS], "ab", buffering=0) as calls:
            calls.write("".join(lines).encode())
        return [_scored(margin(pair.query, pair.document)) for pair in pairs]


def _scored(value: float) -> PairScore:
    return PairScore(value, score(value), 0.9, 0.5, (None,), ((value, 0.0),))


def _unfenced() -> None:
    """A worker that comes back from the dead ends its slice, whoever has it by now."""

    def finish(connection: Any, held: Any) -> None:
        connection.execute(
            text("UPDATE slice SET state = 'done' WHERE job_id = :j AND stage = :s AND no = :n"),
            {"j": held.job_id, "s": held.stage, "n": held.no},
        )

    def pass_over(connection: Any, held: Any, lease: Any, pairs: int = 0) -> None:
        """No token is asked for."""

    for name, instead in (("finish", finish), ("renew", pass_over), ("hold", pass_over)):
        mock.patch.object(slices, name, instead).start()


def main(role: str) -> int:
    if os.environ.get(WITHOUT) == "fencing":
        _unfenced()
    with mock.patch.object(fake_worker, "FreeFineModel", ChaosModel):
        return fake_worker.main(role)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
