"""Document-major against query-major order of the same pairs, on the fine engine alone.

Ten text queries meet each image document. A night has more documents than the stores of visual
tokens and prefixes hold, so here they hold an eighth of the documents.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from benchmarks.fine_shapes import make_model
from benchmarks.fine_ways import ours
from benchmarks.fine_workloads import Workload, Writer, nightly
from worker.fine.engine import Engine
from worker.fine.limits import MemoryLimits

QUERIES = 10
SLICE_PAIRS = 60
"""Pairs that are scored together, as a slice of a job is."""
HELD = 8
"""The stores hold one document in so many."""


@dataclass(frozen=True, slots=True)
class Orders:
    """Processor seconds of each order, and how far the same pair's margins are apart at most."""

    pairs: int
    document_s: float
    query_s: float
    largest_difference: float

    @property
    def gain(self) -> float:
        return self.query_s / self.document_s


def measure(documents: int) -> Orders:
    torch.set_num_threads(1)
    device = torch.device("cpu")
    _, family = make_model("toy", device, torch.float32)
    load = nightly(Writer(), documents, QUERIES)
    # Pair no of the query-major order: all documents of the first query, then of the second …
    order = [no * QUERIES + query for query in range(QUERIES) for no in range(documents)]
    turned = Workload(
        load.name, [load.prompts[no] for no in order], [load.images[no] for no in order]
    )
    limits = _limits(Engine(family, "order", MemoryLimits.of(device)), load, device, documents)
    by_document, document_s = _scored(Engine(family, "order", limits), load)
    by_query, query_s = _scored(Engine(family, "order", limits), turned)
    pairs = zip(order, by_query, strict=True)
    apart = max(abs(by_document[no] - margin) for no, margin in pairs)
    return Orders(len(load), document_s, query_s, apart)


def _limits(engine: Engine, load: Workload, device: torch.device, documents: int) -> MemoryLimits:
    """Stores that hold a part of the documents, by what two of them take."""
    ours(engine, load.first(2 * QUERIES))
    kept = engine.memory()
    held = max(1, documents // HELD)
    return replace(
        MemoryLimits.of(device),
        vision_bytes=held * kept["vision"] // 2 + 1,
        prefix_bytes=held * kept["prefixes"] // 2 + 1,
    )


def _scored(engine: Engine, load: Workload) -> tuple[list[float], float]:
    margins: list[float] = []
    started = time.process_time()
    for first in range(0, len(load), SLICE_PAIRS):
        last = first + SLICE_PAIRS
        part = Workload(load.name, load.prompts[first:last], load.images[first:last])
        margins += ours(engine, part)
    return margins, time.process_time() - started
