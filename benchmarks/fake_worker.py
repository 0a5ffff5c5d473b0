"""A worker whose models cost nothing: `python -m benchmarks.fake_worker coarse|fine`.

Everything else is the real worker's: queues, tasks, claims, leases, commits. What a benchmark
then measures is the service's own cost.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repick.content import LoadedContent
from repick.jobs import PairScore, bulk_queue
from repick.logs import configure
from repick.settings import Settings
from repick.specs import EncoderSpec, ScorerSpec, fingerprint
from repick.store import registry
from repick.store.stages import coarse_queues
from worker.embed import Embedder
from worker.encoding import IMAGE_COST, Encoding
from worker.pace import Pace
from worker.retrieve import Retriever
from worker.runtime import Runtime
from worker.score import SliceScorer
from worker.serving import consume, opened
from worker.tasks import coarse_tasks, fine_tasks

DIMENSION = 512
ENCODER = EncoderSpec("free-encoder", "free", "w", "t", DIMENSION, untrained=True)
SCORER = ScorerSpec("free-scorer", "free", "w", "t", untrained=True)
SLOW, SLOW_PAIR_S = "slow", 0.02
"""Queries that begin so, and what each of their pairs takes: a real model's time, not its cores."""


@dataclass(frozen=True, slots=True)
class FreeEncoder:
    """Unit vectors drawn from a content's text, in microseconds."""

    spec: EncoderSpec = ENCODER

    def prepare(
        self, contents: Sequence[LoadedContent], role: object
    ) -> Callable[[], NDArray[np.float32]]:
        return partial(self.encode, contents, role)

    def encode(self, contents: Sequence[LoadedContent], role: object) -> NDArray[np.float32]:
        return np.stack([_vector(one.text or "") for one in contents])


@dataclass(frozen=True, slots=True)
class FreePair:
    """What a prepared pair is to the worker: its length in tokens, and here its ids."""

    query: int
    document: int
    length: int = 1
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class FreeFineModel:
    """Scores drawn from the contents' ids."""

    specs: tuple[ScorerSpec, ...] = (SCORER,)
    provenance: Mapping[str, str] = field(default_factory=lambda: {"device": "none"})

    def prepare(self, query: LoadedContent, document: LoadedContent, spec: ScorerSpec) -> FreePair:
        seconds = SLOW_PAIR_S if (query.text or "").startswith(SLOW) else 0.0
        return FreePair(query.content_id, document.content_id, seconds=seconds)

    def score(self, pairs: Sequence[FreePair]) -> list[PairScore]:
        if seconds := sum(pair.seconds for pair in pairs):
            time.sleep(seconds)
        return [_score(pair.query * 31 + pair.document) for pair in pairs]


def retriever(runtime: Runtime) -> Retriever:
    encoder: Any = FreeEncoder()
    pace = Pace(runtime.settings.embed_batch * IMAGE_COST)
    encoding = Encoding(runtime, encoder, pace)
    return Retriever(runtime, encoding, Embedder(runtime, encoding))


def scorer(runtime: Runtime) -> SliceScorer:
    model: Any = FreeFineModel()
    with runtime.database.begin() as connection:
        provenance_id = registry.put_provenance(connection, model.provenance)
    pace = Pace(runtime.settings.batch_tokens)
    return SliceScorer(runtime, model, {fingerprint(SCORER): SCORER}, provenance_id, pace)


def registered(runtime: Runtime) -> tuple[int, int]:
    """The ids of the free encoder and scorer."""
    with runtime.database.begin() as connection:
        encoder = registry.register_encoder(connection, ENCODER)
        return encoder, registry.register_scorer(connection, SCORER)


def main(role: str) -> int:
    configure(role)
    settings = Settings()
    base = ENCODER.queue if role == "coarse" else SCORER.queue
    queues = coarse_queues(base) if role == "coarse" else [base, bulk_queue(base)]
    with opened(settings, role, queues) as runtime:
        encoder, fine = registered(runtime)
        if role == "coarse":
            coarse_tasks(runtime.app, retriever(runtime), [encoder])
            return consume(runtime, partial(registry.encoders_served, ids=[encoder]), model="none")
        fine_tasks(runtime.app, scorer(runtime), [fine])
        return consume(runtime, partial(registry.scorers_served, ids=[fine]), model="none")


def _vector(text: str) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(DIMENSION, dtype=np.float32)
    unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


def _score(number: int) -> PairScore:
    margin = (number % 997) / 997 * 8 - 4
    score = float(1 / (1 + np.exp(-margin)))
    return PairScore(margin, score, 0.9, 0.5, (None,), ((margin, 0.0),))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
