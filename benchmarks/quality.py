"""How good the demo's models are, measured through the service.

    python -m benchmarks.quality [--quick] [--json FILE]

A whole stack on the demo's trained encoder and judge; held-out scenes among hard negatives, and
emoji asked for by name. docs/quality.md says what each figure means. Emoji stay in the coarse
order: the judge has never seen any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from scipy.stats import bootstrap

from benchmarks.report import Row, machine, print_table, write_json
from demo.data.scenes import Error, Split, png
from demo.labelled import FAMILIES, Task, emoji_tasks, scene_tasks
from demo.models import JUDGE_NAME, READOUT
from demo.training.probes import Probe, probes, summary
from repick.calibration.fit import Report, calibrate
from repick.calibration.labels import Label
from repick.client import Client, Document, Item, Job, Query, Ranking
from repick.settings import Settings
from repick.stack import Addresses, run_stack

WORDS = ("choice_balanced", "choice", "yes_no", "true_false", "right_wrong")
REPORTED = ("rating", "paper")
GOALS = {
    "coarse_recall20": (0.97, ">="),
    "coarse_r1_easy": (0.80, ">="),
    "fine_r1_t2i": (0.90, ">="),
    "fine_r1_i2t": (0.90, ">="),
    "replace_acc": (0.90, ">="),
    "swap_acc": (0.90, ">="),
    "add_acc": (0.90, ">="),
    "worst_word_readout_r1": (0.85, ">="),
    "emoji_r10_seen": (0.90, ">="),
    "ece": (0.05, "<="),
    "brier_gain": (0.0, ">="),
}
QUERIES_A_JOB = 200
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked; `emoji` queries of either part, all for None."""

    families: int
    probes: int
    emoji: int | None
    reported: tuple[str, ...]


FULL, QUICK = Sizes(FAMILIES, 200, None, REPORTED), Sizes(20, 12, 40, ())


@dataclass(frozen=True, slots=True)
class Places:
    """Of each query, the rank of its right document before and after judging; None if absent."""

    coarse: tuple[int | None, ...]
    fine: tuple[int | None, ...]

    @classmethod
    def of(cls, task: Task, rankings: Sequence[Ranking]) -> Places:
        targets = [query.target for query in task.queries]
        found = [
            next((hit for hit in ranking.hits if hit.id == target), None)
            for ranking, target in zip(rankings, targets, strict=True)
        ]
        return cls(
            tuple(hit.coarse_rank if hit else None for hit in found),
            tuple(hit.rank if hit else None for hit in found),
        )


def recall(places: Sequence[int | None], depth: int) -> float:
    """R@depth, with one right document a query."""
    return fmean(_within(places, depth))


def _within(places: Sequence[int | None], depth: int) -> list[float]:
    return [float(place is not None and place <= depth) for place in places]


class Bench:
    """The questions, asked of a running service."""

    def __init__(self, client: Client, sizes: Sizes) -> None:
        self._client, self._sizes = client, sizes

    def measure(self) -> list[Row]:
        scenes, emoji = scene_tasks(self._sizes.families), emoji_tasks(self._sizes.emoji)
        for task in {task.corpus: task for task in (*scenes.values(), *emoji.values())}.values():
            self._load(task)
        return [
            _row(name, value)
            for part in (self._scenes(scenes), self._probes(), self._emoji(emoji))
            for name, value in part.items()
        ]

    def _scenes(self, tasks: Mapping[str, Task]) -> dict[str, float]:
        ranked = {name: self._ask(tasks[name], READOUT) for name in ("t2i", "i2t")}
        places = {name: Places.of(tasks[name], ranked[name]) for name in ranked}
        easy = Places.of(tasks["easy"], self._ask(tasks["easy"], READOUT, blend=1.0))
        figures: dict[str, float] = {}
        for name, each in places.items():
            figures |= {
                f"queries_{name}": len(each.fine),
                f"coarse_r1_{name}": recall(each.coarse, 1),
                f"fine_r1_{name}": recall(each.fine, 1),
                **_gain(each, name),
            }
        figures["coarse_recall20"] = min(recall(each.coarse, 20) for each in places.values())
        figures["coarse_r1_easy"] = recall(easy.coarse, 1)
        by_readout = {READOUT.split(":")[0]: figures["fine_r1_t2i"]}
        for readout in (*WORDS[1:], *self._sizes.reported):
            found = Places.of(tasks["t2i"], self._ask(tasks["t2i"], f"{readout}:plain"))
            by_readout[readout] = recall(found.fine, 1)
        figures["worst_word_readout_r1"] = min(by_readout[name] for name in WORDS)
        figures |= {f"readout_{name}_r1": value for name, value in by_readout.items()}
        report = calibrated(tasks, ranked)
        figures["ece_before"], figures["ece"] = report.before.ece, report.after.ece
        figures["brier_gain"] = report.base_rate_brier - report.after.brier
        return figures

    def _probes(self) -> dict[str, float]:
        """Whether a scene's true caption has a larger margin than each false one."""
        above: dict[Error, list[bool]] = defaultdict(list)
        for probe in probes(self._sizes.probes, Split.TEST):
            margins = self._margins(probe)
            for error in probe.wrong:
                above[error].append(margins["right"] > margins[error.value])
        classes = summary(above)["classes"]
        by_error = summary(above)["accuracy"]
        return {f"{name}_acc": value for name, value in classes.items()} | {
            f"error_{name}_acc": value for name, value in by_error.items()
        }

    def _margins(self, probe: Probe) -> dict[str, float]:
        documents = [
            Document("right", probe.right.text),
            *(Document(error.value, each.text) for error, each in probe.wrong.items()),
        ]
        query = Query(image=png(probe.scene))
        job = self._client.rank(None, query, documents=documents, scorer=scorer(READOUT))
        hits = _complete(job)[0].hits
        return {hit.id: hit.margin for hit in hits if hit.margin is not None}

    def _emoji(self, tasks: Mapping[str, Task]) -> dict[str, float]:
        figures = {}
        for name, task in tasks.items():
            found = Places.of(task, self._ask(task, READOUT, blend=1.0))
            figures[f"emoji_r10_{name}"] = recall(found.coarse, 10)
            figures[f"emoji_{name}_over_random"] = figures[f"emoji_r10_{name}"] / (
                10 / len(task.documents)
            )
        return figures

    def _ask(self, task: Task, readout: str, blend: float = 0.0) -> list[Ranking]:
        """Every candidate comes back, so that a ranking holds both orders."""
        return list(self._rankings(task, readout, blend))

    def _rankings(self, task: Task, readout: str, blend: float) -> Iterator[Ranking]:
        for first in range(0, len(task.queries), QUERIES_A_JOB):
            some = task.queries[first : first + QUERIES_A_JOB]
            job = self._client.rank(
                task.corpus,
                [Query(each.text, each.image) for each in some],
                k=task.k,
                top_n=task.k,
                scorer=scorer(readout),
                blend=blend,
            )
            yield from _complete(job)

    def _load(self, task: Task) -> None:
        self._client.create_corpus(task.corpus)
        items = [Item(one.id, one.text, one.image) for one in task.documents]
        put = self._client.put_items(task.corpus, items)
        if put.failed:
            raise RuntimeError(f"{task.corpus}: {put.failed[0]}")


def scorer(readout: str) -> str:
    return f"{JUDGE_NAME}:{readout}"


def _complete(job: Job) -> Sequence[Ranking]:
    """Raises RuntimeError where anything is missing: a figure of the rest would be a wrong one."""
    failed = [error for ranking in job.rankings for error in ranking.errors]
    if job.state != "succeeded" or job.query_errors or failed:
        raise RuntimeError(f"job {job.id} is {job.state}: {job.query_errors or failed}")
    return sorted(job.rankings, key=lambda ranking: ranking.query)


def _gain(places: Places, name: str) -> dict[str, float]:
    """R@1 of fine minus coarse, with its 95 % interval: queries resampled in pairs."""
    pairs = zip(_within(places.fine, 1), _within(places.coarse, 1), strict=True)
    gains = [fine - coarse for fine, coarse in pairs]
    figures = {f"gain_r1_{name}": fmean(gains)}
    if len(set(gains)) > 1:  # equal ones have no spread to resample
        found = bootstrap(
            (gains,), fmean, n_resamples=RESAMPLES, vectorized=False, method="percentile",
            random_state=0,
        )  # fmt: skip
        interval = found.confidence_interval
        figures |= {
            f"gain_r1_{name}_low": float(interval.low),
            f"gain_r1_{name}_high": float(interval.high),
        }
    return figures


def calibrated(tasks: Mapping[str, Task], ranked: Mapping[str, Sequence[Ranking]]) -> Report:
    """A map from margin to probability, fitted on half of the queries, measured on the others."""
    labels = [
        Label(f"{name}-{no}", hit.margin, hit.id == query.target, hit.coarse_score)
        for name, rankings in ranked.items()
        for no, (query, one) in enumerate(zip(tasks[name].queries, rankings, strict=True))
        for hit in one.hits
        if hit.margin is not None
    ]
    return calibrate(labels)


def _row(name: str, value: float) -> Row:
    goal, sense = GOALS.get(name, (None, None))
    unit = "queries" if name.startswith("queries_") else "x" if "random" in name else "share"
    return Row(name, round(float(value), 4), unit, goal, sense)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer queries, under 45 s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    rows: list[Row] = []

    def ask(addresses: Addresses) -> int:
        with Client(addresses.api_url, addresses.api_key) as client:
            rows.extend(Bench(client, QUICK if args.quick else FULL).measure())
        return 0

    with tempfile.TemporaryDirectory(prefix="repick-quality-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, Postgres runs as another user
        code = run_stack(Settings(data_dir=folder), on_ready=ask, quiet=True)
    if code == 0:
        print_table(rows)
        if args.json:
            write_json(args.json, "quality", machine(), rows, quick=args.quick)
    return code


if __name__ == "__main__":
    sys.exit(main())
