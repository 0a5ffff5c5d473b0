"""An evaluation's figures: as values, as JSON, as TREC run files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from repick.evaluation.asking import Asked
from repick.evaluation.bootstrap import Gain, paired
from repick.evaluation.dataset import Dataset
from repick.evaluation.measures import Orders, PerQuery, means, per_query
from repick.evaluation.published import published

FEW_QUERIES = 30


@dataclass(frozen=True, slots=True)
class Scored:
    """One scorer over the data set: both orders measured, and the gain of fine over coarse."""

    asked: Asked
    coarse: PerQuery
    fine: PerQuery
    gains: Mapping[str, Gain]
    ablation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, asked: Asked, dataset: Dataset, ablation: Mapping[str, Mapping[str, float]]
    ) -> Scored:
        coarse = per_query(dataset.qrels, asked.coarse())
        fine = per_query(dataset.qrels, asked.fine())
        gains = {name: paired(coarse[name], fine[name]) for name in coarse}
        return cls(asked, coarse, fine, gains, ablation)

    @property
    def harmful(self) -> bool:
        """Whether reranking puts fewer relevant documents first than the coarse order does."""
        return self.gains["R@1"].mean < 0

    @property
    def few_queries(self) -> bool:
        """Whether the resamples of so few queries can hardly differ: the interval is too narrow
        then, and p too small."""
        return len(self.coarse["R@1"]) < FEW_QUERIES

    def as_json(self) -> dict[str, Any]:
        one = self.asked
        return {
            "scorer": one.scorer,
            "fingerprint": one.fingerprint,
            "untrained": one.untrained,
            "few_queries": self.few_queries,
            "coarse": means(self.coarse),
            "fine": means(self.fine),
            "gain": {name: asdict(gain) for name, gain in self.gains.items()},
            "pairs": one.pairs,
            "reused_pairs": one.reused,
            "failed_pairs": one.failed,
            "seconds": one.seconds,
            "jobs": list(one.jobs),
            **({"ablation": self.ablation} if self.ablation else {}),
        }


def as_json(dataset: Dataset, k: int, found: Sequence[Scored]) -> dict[str, Any]:
    """Everything but the single queries; those are in the run files."""
    return {
        "dataset": dataset.name,
        "corpus_sha256": dataset.corpus_hash(),
        "documents": len(dataset.documents),
        "queries": len(dataset.queries),
        "k": k,
        "scorers": [one.as_json() for one in found],
        "published": published(dataset.name),
    }


def write_runs(folder: Path, found: Sequence[Scored]) -> list[Path]:
    """A file of each order; the coarse one is the same for every scorer."""
    orders = {"coarse": found[0].asked.coarse()}
    orders |= {one.asked.scorer.replace(":", "-"): one.asked.fine() for one in found}
    return [_write_run(folder / f"{tag}.trec", tag, order) for tag, order in orders.items()]


def _write_run(file: Path, tag: str, orders: Orders) -> Path:
    """`query Q0 document rank score tag`; scores fall with the rank, as trec_eval sorts by them."""
    lines = (
        f"{query} Q0 {document} {rank} {len(order) - rank + 1} {tag}\n"
        for query, order in orders.items()
        for rank, document in enumerate(order, start=1)
    )
    file.write_text("".join(lines), encoding="utf-8")
    return file
