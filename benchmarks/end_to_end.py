"""How many of the scorer's own pairs a second arrive through the whole service.

    python -m benchmarks.end_to_end [--quick] [--json FILE] [--threads N]

The demo's trained models, every process of the service and embedded servers on this machine. After
each round of jobs the same pairs are scored by the same model in a process of its own, as nice as a
worker and with as many threads, job by job, from decoded images: their tokens, their patches and
the forward pass, and nothing else; so both sides of a ratio see the same machine. The service's
time is from the first job's acceptance to the last one's ranking, by the database's clock: it also
holds retrieving, decoding, committing and ranking. In both, pictures have been seen before and no
pair has.

On the CPU the cores that the model does not use stand for the host of an accelerator: unless
--threads or OMP_NUM_THREADS says otherwise, one is left for the service. The `processor` rows
compare processor time, on which other work on the machine has little influence.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.end_to_end_scorer import Alone, Ranked, Taken, collection, scorer_alone
from benchmarks.report import Row, machine, print_table, write_json
from demo.documents import DemoItem
from demo.models import JUDGE_NAME, READOUT
from repick.client import Client, Item, Job, Query
from repick.settings import Settings
from repick.stack import Addresses, run_stack

CORPUS = "end-to-end"
REPEATS = 5
LARGE_K, SMALL_K = 200, 20
AT_ONCE, QUICK_AT_ONCE = 50, 15
GOAL = 0.9

Asked = tuple[str, int]
"""A job: its query's text, and k."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of jobs took through the service, and the same pairs by the scorer alone."""

    ranked: Ranked
    service: Taken
    scorer: Taken

    @property
    def pairs(self) -> int:
        return sum(map(len, self.ranked.values()))

    @property
    def share(self) -> float:
        return self.scorer.seconds / self.service.seconds


Rounds = Mapping[str, Sequence[Round]]


@dataclass(frozen=True, slots=True)
class Service:
    """Jobs through the API, as any client sends them."""

    client: Client
    worker: psutil.Process
    alone: Alone

    def load(self, items: Sequence[DemoItem]) -> None:
        """Put the corpus, and wait for its vectors."""
        self.client.create_corpus(CORPUS)
        self.client.put_items(CORPUS, (Item(one.id, image=one.image) for one in items))
        while self.client.corpus(CORPUS).embedded < len(items):
            time.sleep(0.1)

    def round(self, asked: Sequence[Asked]) -> Round:
        """Submit all of these jobs at once, wait for all of them; then the scorer has its turn."""
        before = _processor_s(self.worker)
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
        service = Taken(taken.total_seconds(), _processor_s(self.worker) - before)
        return Round(ranked, service, self.alone(ranked))

    def _submit(self, asked: Asked) -> Job:
        text, k = asked
        return self.client.submit(
            CORPUS, Query(text), k=k, top_n=k, scorer=f"{JUDGE_NAME}:{READOUT}"
        )


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _fine_worker() -> psutil.Process:
    """Of the stack that this process runs."""
    children = psutil.Process().children(recursive=True)
    return next(one for one in children if one.cmdline()[-2:] == ["worker", "fine"])


def _complete(job: Job) -> Job:
    """Raises RuntimeError where a job has not all of its pairs: its rate would be a wrong one."""
    if job.state != "succeeded" or any(one.errors for one in job.rankings):
        raise RuntimeError(f"job {job.id} is {job.state}")
    return job


def through_service(client: Client, alone: Alone, repeats: int, at_once: int) -> Rounds:
    items, texts = collection()
    service, fresh = Service(client, _fine_worker(), alone), iter(texts)
    service.load(items)
    large = [[(next(fresh), LARGE_K)] for _ in range(repeats + 1)]
    small = [[(next(fresh), SMALL_K) for _ in range(at_once)] for _ in range(repeats)]
    return {
        # The first round is not counted: it sees every picture, and learns the device's pace.
        f"one_job_k{LARGE_K}": [service.round(asked) for asked in large][1:],
        f"{at_once}_jobs_at_once": [service.round(asked) for asked in small],
    }


def report(rounds: Rounds) -> Iterator[Row]:
    """Medians of the rounds."""
    for name, found in rounds.items():
        service = statistics.median(one.pairs / one.service.seconds for one in found)
        scorer = statistics.median(one.pairs / one.scorer.seconds for one in found)
        share = statistics.median(one.share for one in found)
        processor = statistics.median(
            one.service.processor_s / one.scorer.processor_s for one in found
        )
        yield Row(f"{name}_pairs_per_s", service, "pairs/s")
        yield Row(f"{name}_scorer_pairs_per_s", scorer, "pairs/s")
        yield Row(f"{name}_share", share, "share", GOAL, ">=")
        yield Row(f"{name}_processor_over_scorer", processor, "x")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of each, of fewer jobs")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, help="of the model; all cores but one unless given")
    options = parser.parse_args(arguments)
    threads = options.threads or os.environ.get("OMP_NUM_THREADS") or _threads()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the stack's own workers have it
    sizes = (1, QUICK_AT_ONCE) if options.quick else (REPEATS, AT_ONCE)
    rounds: dict[str, Sequence[Round]] = {}

    def ask(addresses: Addresses) -> int:
        with Client(addresses.api_url, addresses.api_key) as client, scorer_alone() as alone:
            rounds.update(through_service(client, alone, *sizes))
        return 0

    with tempfile.TemporaryDirectory(prefix="repick-end-to-end-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, Postgres runs as another user
        code = run_stack(Settings(data_dir=folder), on_ready=ask, quiet=True)
    if code == 0:
        rows = [Row("threads", int(threads), ""), *report(rounds)]
        print_table(rows)
        if options.json:
            write_json(options.json, "end_to_end", machine(), rows, quick=options.quick)
    return code


def _threads() -> int:
    return max(1, (os.cpu_count() or 1) - 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
