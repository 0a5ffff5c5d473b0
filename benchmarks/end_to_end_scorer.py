"""The demo's judge in a process of its own, on the pairs that the service has just scored."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

from PIL import Image

from demo import drawn
from demo.documents import DemoItem
from demo.models import JUDGE, JUDGE_NAME, MODELS, READOUT, SIDE
from repick.content import LoadedContent
from repick.settings import Settings
from repick.specs import ImageLimits, Readout
from repick.stack.child import leave_cores_to_others
from repick.stack.services import KEEPING_MEMORY, WORKERS_NICENESS
from worker.checkpoints import open_checkpoint
from worker.fine.scorer import FineModel

FAMILIES, SEED = 80, 11


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds by the clock, and of processor time: of the fine worker, or of the scorer alone."""

    seconds: float
    processor_s: float


Ranked = Mapping[str, tuple[str, ...]]
"""Which documents each query was judged against."""

Alone = Callable[[Ranked], Taken]


@dataclass(frozen=True, slots=True)
class Scorer:
    """The same model in this process."""

    model: FineModel
    documents: Mapping[str, LoadedContent]

    @classmethod
    def load(cls, items: Sequence[DemoItem]) -> Scorer:
        readout = READOUT.split(":")[0]
        model = FineModel.load(
            open_checkpoint(str(MODELS / JUDGE), JUDGE_NAME),
            readouts=[Readout(readout)],
            device=Settings().device,
            dtype=Settings().dtype,
            images=ImageLimits(SIDE * SIDE, SIDE * SIDE),
        )
        return cls(model, {one.id: _content(one) for one in items})

    def taken(self, ranked: Ranked) -> Taken:
        """What these pairs take, a call a query."""
        spec = next(one for one in self.model.specs if one.enhancement is None)
        started, processor = time.perf_counter(), time.process_time()
        for text, ids in ranked.items():
            query = LoadedContent(0, text)
            documents = [self.documents[one] for one in ids]
            self.model.score([self.model.prepare(query, one, spec) for one in documents])
        return Taken(time.perf_counter() - started, time.process_time() - processor)


def _content(item: DemoItem) -> LoadedContent:
    assert item.image is not None
    image = Image.open(io.BytesIO(item.image)).convert("RGB")
    return LoadedContent(0, None, image, hashlib.sha256(item.image).digest())


def collection() -> tuple[tuple[DemoItem, ...], list[str]]:
    """The corpus, and texts to ask for; the same at every call."""
    families = drawn.make_families(FAMILIES, SEED)
    texts = dict.fromkeys(str(one.text) for one in drawn.captions_of(families))
    return drawn.pictures_of(families), list(texts)


_scorer: Scorer


def _become_scorer() -> None:
    """In the process of its own: what a worker of the stack is, without the stack."""
    global _scorer
    os.setsid()
    leave_cores_to_others(WORKERS_NICENESS)
    items, texts = collection()
    _scorer = Scorer.load(items)
    # Every picture has been seen.
    _scorer.taken({f"Not {texts[0]}": tuple(one.id for one in items)})


def _by_the_scorer(ranked: Ranked) -> Taken:
    return _scorer.taken(ranked)


@contextmanager
def scorer_alone() -> Iterator[Alone]:
    os.environ.update(KEEPING_MEMORY)  # read when a process starts, as a worker's is
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_become_scorer) as pool:
        yield lambda ranked: pool.submit(_by_the_scorer, ranked).result()
