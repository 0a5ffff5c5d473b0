"""How many of the scorer's own pairs a second arrive through the whole service.

    python -m benchmarks.end_to_end [--quick] [--json FILE]

The demo's trained models, every process of the service and embedded servers on this machine. The
same pairs are scored by the same model in this process, job by job, from decoded images: their
tokens, their patches and the forward pass, and nothing else. The service's time is from the first
job's acceptance to the last one's ranking, by the database's clock, so it also holds retrieving,
decoding, committing and ranking. In both, pictures have been seen before and no pair has.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from benchmarks.report import Row, machine, print_table, write_json
from demo import drawn
from demo.documents import DemoItem
from demo.models import JUDGE, JUDGE_NAME, MODELS, READOUT, SIDE
from repick.client import Client, Item, Job, Query
from repick.content import LoadedContent
from repick.settings import Settings
from repick.specs import ImageLimits, Readout
from repick.stack import Addresses, run_stack
from worker.checkpoints import open_checkpoint
from worker.fine.scorer import FineModel

CORPUS = "end-to-end"
FAMILIES, SEED, REPEATS = 80, 11, 5
LARGE_K, SMALL_K, AT_ONCE = 200, 20, 50
GOAL = 0.9

Asked = tuple[str, int]
"""A job: its query's text, and k."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of jobs took, and which documents each query was judged against."""

    seconds: float
    ranked: Mapping[str, tuple[str, ...]]

    @property
    def pairs(self) -> int:
        return sum(map(len, self.ranked.values()))


Rounds = Mapping[str, Sequence[Round]]


@dataclass(frozen=True, slots=True)
class Service:
    """Jobs through the API, as any client sends them."""

    client: Client

    def load(self, items: Sequence[DemoItem]) -> None:
        """Put the corpus, and wait for its vectors."""
        self.client.create_corpus(CORPUS)
        self.client.put_items(CORPUS, (Item(one.id, image=one.image) for one in items))
        while self.client.corpus(CORPUS).embedded < len(items):
            time.sleep(0.1)

    def round(self, asked: Sequence[Asked]) -> Round:
        """Submit all of these jobs at once and wait for all of them."""
        with ThreadPoolExecutor(min(16, len(asked))) as pool:
            ids = [job.id for job in pool.map(self._submit, asked)]
        jobs = [_complete(self.client.wait(job_id)) for job_id in ids]
        taken = max(filter(None, (job.finished_at for job in jobs))) - min(
            job.created_at for job in jobs
        )
        ranked = {
            text: tuple(hit.id for hit in job.rankings[0].hits)
            for (text, _), job in zip(asked, jobs, strict=True)
        }
        return Round(taken.total_seconds(), ranked)

    def _submit(self, asked: Asked) -> Job:
        text, k = asked
        return self.client.submit(
            CORPUS, Query(text), k=k, top_n=k, scorer=f"{JUDGE_NAME}:{READOUT}"
        )


def _complete(job: Job) -> Job:
    """Raises RuntimeError where a job has not all of its pairs: its rate would be a wrong one."""
    if job.state != "succeeded" or any(one.errors for one in job.rankings):
        raise RuntimeError(f"job {job.id} is {job.state}")
    return job


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

    def seconds(self, ranked: Mapping[str, Sequence[str]]) -> float:
        """What these pairs take, a call a query."""
        spec = next(one for one in self.model.specs if one.enhancement is None)
        started = time.perf_counter()
        for text, ids in ranked.items():
            query = LoadedContent(0, text)
            documents = [self.documents[one] for one in ids]
            self.model.score([self.model.prepare(query, one, spec) for one in documents])
        return time.perf_counter() - started


def _content(item: DemoItem) -> LoadedContent:
    assert item.image is not None
    image = Image.open(io.BytesIO(item.image)).convert("RGB")
    return LoadedContent(0, None, image, hashlib.sha256(item.image).digest())


def collection() -> tuple[tuple[DemoItem, ...], list[str]]:
    """The corpus, and texts to ask for; the same at every call."""
    families = drawn.make_families(FAMILIES, SEED)
    texts = dict.fromkeys(str(one.text) for one in drawn.captions_of(families))
    return drawn.pictures_of(families), list(texts)


def through_service(client: Client, repeats: int) -> Rounds:
    items, texts = collection()
    service, fresh = Service(client), iter(texts)
    service.load(items)
    large = [[(next(fresh), LARGE_K)] for _ in range(repeats + 1)]
    small = [[(next(fresh), SMALL_K) for _ in range(AT_ONCE)] for _ in range(repeats)]
    return {
        # The first round is not counted: it sees every picture, and learns the device's pace.
        f"one_job_k{LARGE_K}": [service.round(asked) for asked in large][1:],
        f"{AT_ONCE}_jobs_at_once": [service.round(asked) for asked in small],
    }


def by_the_scorer(rounds: Rounds) -> dict[str, list[float]]:
    """Seconds of each round's pairs; in a process of its own, that has nothing else to do."""
    items, texts = collection()
    scorer = Scorer.load(items)
    scorer.seconds({f"Not {texts[0]}": [one.id for one in items]})  # every picture has been seen
    return {name: [scorer.seconds(one.ranked) for one in found] for name, found in rounds.items()}


def alone(rounds: Rounds) -> dict[str, list[float]]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(by_the_scorer, rounds).result()


def report(rounds: Rounds, own: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    """Medians of the rounds."""
    for name, found in rounds.items():
        service = statistics.median(one.pairs / one.seconds for one in found)
        taken = zip(found, own[name], strict=True)
        scorer = statistics.median(one.pairs / seconds for one, seconds in taken)
        yield Row(f"{name}_pairs_per_s", service, "pairs/s")
        yield Row(f"{name}_scorer_pairs_per_s", scorer, "pairs/s")
        yield Row(f"{name}_share", service / scorer, "share", GOAL, ">=")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of each instead of five")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the stack's own workers have it
    rounds: dict[str, Sequence[Round]] = {}

    def ask(addresses: Addresses) -> int:
        with Client(addresses.api_url, addresses.api_key) as client:
            rounds.update(through_service(client, 1 if options.quick else REPEATS))
        return 0

    with tempfile.TemporaryDirectory(prefix="repick-end-to-end-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, Postgres runs as another user
        code = run_stack(Settings(data_dir=folder), on_ready=ask, quiet=True)
    if code == 0:
        rows = list(report(rounds, alone(rounds)))
        print_table(rows)
        if options.json:
            write_json(options.json, "end_to_end", machine(), rows, quick=options.quick)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
