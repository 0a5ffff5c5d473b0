"""The real worker around a pure scorer: `python -m benchmarks.chaos.worker coarse|fine`.

CHAOS_DELAY_S is what a pair costs, CHAOS_LOG the folder of the call logs, CHAOS_CLOCK_S shifts
this process's wall clock, and CHAOS_BREAK=fencing takes the check of tokens away: then the harness
must find the damage. Every commit of a batch is watched (`commits.py`).
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import TextClause, text

from benchmarks.chaos.commits import watched
from benchmarks.chaos.function import POISON, margin, record, record_poisoned
from benchmarks.fake_worker import ENCODER, retriever
from repick.content import LoadedContent
from repick.jobs import PairScore, bulk_queue
from repick.logs import configure
from repick.settings import Settings
from repick.specs import ScorerSpec, fingerprint
from repick.store import ledger, registry, slices
from repick.store.stages import coarse_queues
from worker.pace import Pace
from worker.runtime import Runtime
from worker.score import SliceScorer
from worker.serving import consume, opened
from worker.tasks import coarse_tasks, fine_tasks

SCORER = ScorerSpec("chaos-scorer", "chaos", "w", "t", untrained=True)
_FENCE = re.compile(r"AND ((?:s\.)?token = :token)")


@dataclass(frozen=True, slots=True)
class Pair:
    query: str
    document: str
    length: int = 1


@dataclass(frozen=True, slots=True)
class PureModel:
    """Scores by `function.margin`, as slowly as it is told to."""

    folder: Path
    delay_s: float
    specs: tuple[ScorerSpec, ...] = (SCORER,)
    provenance: Mapping[str, str] = field(default_factory=lambda: {"device": "none"})

    def prepare(self, query: LoadedContent, document: LoadedContent, spec: ScorerSpec) -> Pair:
        return Pair(query.text or "", document.text or "")

    def score(self, pairs: Sequence[Pair]) -> list[PairScore]:
        if any(pair.query.startswith(POISON) for pair in pairs):
            record_poisoned(self.folder)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.delay_s * len(pairs))
        record(self.folder, [(pair.query, pair.document) for pair in pairs])
        return [_score(margin(pair.query, pair.document)) for pair in pairs]


def _score(value: float) -> PairScore:
    return PairScore(value, (value + 4) / 8, 0.9, 0.5, (None,), ((value, 0.0),))


def shift_clock(seconds: float) -> None:
    """Set this process's wall clock off; leases must not care, the database's clock decides."""
    real = time.time
    time.time = lambda: real() + seconds


def break_fencing(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Take the check of tokens out of every statement on slices that has one."""
    for module in (slices, ledger):
        for name, value in list(vars(module).items()):
            if isinstance(value, TextClause):
                put(module, name, _unfenced(value.text))
        put(module, "text", _unfenced)


def _unfenced(statement: str) -> TextClause:
    return text(_FENCE.sub(r"AND (true OR \1)", statement))


def main(role: str) -> int:
    configure(role)
    shift_clock(float(os.environ.get("CHAOS_CLOCK_S", "0")))
    if os.environ.get("CHAOS_BREAK") == "fencing":
        break_fencing()
    settings = Settings()
    base = ENCODER.queue if role == "coarse" else SCORER.queue
    queues = coarse_queues(base) if role == "coarse" else [base, bulk_queue(base)]
    with opened(settings, role, queues) as runtime:
        return (_coarse if role == "coarse" else _fine)(runtime)


def _coarse(runtime: Runtime) -> int:
    with runtime.database.begin() as connection:
        ids = [registry.register_encoder(connection, ENCODER)]
    coarse_tasks(runtime.app, retriever(runtime), ids)
    return consume(runtime, partial(registry.encoders_served, ids=ids), model="none")


def _fine(runtime: Runtime) -> int:
    folder = Path(os.environ["CHAOS_LOG"])
    model: Any = PureModel(folder, float(os.environ["CHAOS_DELAY_S"]))
    setattr(ledger, "commit_batch", watched(ledger.commit_batch, folder))  # noqa: B010
    with runtime.database.begin() as connection:
        ids = [registry.register_scorer(connection, SCORER)]
        provenance_id = registry.put_provenance(connection, model.provenance)
    specs = {fingerprint(SCORER): SCORER}
    pace = Pace(runtime.settings.batch_pairs, first=runtime.settings.batch_pairs)
    fine_tasks(runtime.app, SliceScorer(runtime, model, specs, provenance_id, pace), ids)
    return consume(runtime, partial(registry.scorers_served, ids=ids), model="pure")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
