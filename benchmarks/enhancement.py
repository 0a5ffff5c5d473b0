"""Whether visual enhancement helps the demo's judge, and which of its settings.

    python -m benchmarks.enhancement [--quick] [--json FILE]

A stack a setting, over one database: the queries and candidates of benchmarks/quality.py's scenes
among hard negatives. Each gain is over the same scorer without enhancement, with its 95 % interval;
`fired` is the share of pairs in which the entropy crossed γ at all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.report import Row, machine, print_table, write_json
from demo import models
from demo.labelled import FAMILIES, scene_tasks, write_dataset
from repick.client import Client
from repick.evaluation.asking import Asked, ask, load
from repick.evaluation.bootstrap import paired
from repick.evaluation.dataset import Dataset, open_dataset
from repick.evaluation.measures import per_query
from repick.settings import Settings
from repick.specs import Positions
from repick.stack import Addresses, run_stack

READOUT = "choice_balanced"
K = 20
ALWAYS = {"enhancement_gamma": 0.0}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "no_norm": {"enhancement_final_norm": False},
    "always": ALWAYS,
    "always_alpha_30": {**ALWAYS, "enhancement_alpha": 0.3},
    "always_all": {**ALWAYS, "enhancement_positions": Positions.ALL},
}
"""METHOD §3's α 0.12, γ 0.75, last position, final norm; and what each of the others changes.

`always` lets the smallest entropy cross γ: a judge that is sure of its answers never crosses 0.75.
"""
QUICK_FAMILIES = 20
QUICK_VARIANTS = ("paper",)


class Bench:
    """Data sets and what the judge said without enhancement, kept from one stack to the next."""

    def __init__(self, folder: Path, families: int) -> None:
        self._folder, self._sets = folder, dict(_datasets(folder, families))
        self._plain: dict[str, Asked] = {}
        self.rows: list[Row] = []

    def run(self, variant: str) -> int:
        """The exit code of the variant's stack."""
        values = {**models.settings(self._folder), **VARIANTS[variant]}
        name = f"judge-{variant.replace('_', '-')}"
        settings = Settings(
            data_dir=self._folder, **{**values, "scorer_name": name, "readouts": READOUT}
        )

        def measure(addresses: Addresses) -> int:
            with Client(addresses.api_url, addresses.api_key) as client:
                for direction, dataset in self._sets.items():
                    self._measure(client, variant, f"{name}:{READOUT}", direction, dataset)
            return 0

        return run_stack(settings, on_ready=measure, quiet=True)

    def _measure(
        self, client: Client, variant: str, scorer: str, direction: str, dataset: Dataset
    ) -> None:
        corpus = load(client, dataset, _silent)
        if direction not in self._plain:
            self._plain[direction] = ask(
                client, dataset, corpus, k=K, scorer=f"{scorer}:plain", tell=_silent
            )
            self._row(f"off_r1_{direction}", fmean(_r1(dataset, self._plain[direction]).values()))
        found = ask(client, dataset, corpus, k=K, scorer=scorer, tell=_silent)
        gain = paired(_r1(dataset, self._plain[direction]), _r1(dataset, found))
        hits = [hit for hits in found.hits.values() for hit in hits]
        self._row(f"{variant}_r1_{direction}", fmean(_r1(dataset, found).values()))
        self._row(f"{variant}_gain_{direction}", gain.mean)
        self._row(f"{variant}_gain_{direction}_low", gain.low)
        self._row(f"{variant}_gain_{direction}_high", gain.high)
        fired = fmean(hit.enhanced_at is not None for hit in hits)
        self._row(f"{variant}_fired_{direction}", fired)

    def _row(self, name: str, value: float) -> None:
        self.rows.append(Row(name, round(value, 4), "share"))


def _datasets(folder: Path, families: int) -> Iterator[tuple[str, Dataset]]:
    tasks = scene_tasks(families)
    for name in ("t2i", "i2t"):
        target = folder / "labelled" / name
        write_dataset(tasks[name], target)
        yield name, open_dataset(target)


def _r1(dataset: Dataset, asked: Asked) -> Mapping[str, float]:
    return per_query(dataset.qrels, asked.fine())["R@1"]


def _silent(done: int, total: int) -> None:
    pass


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one setting, few queries")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="repick-enhancement-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, Postgres runs as another user
        bench = Bench(folder, QUICK_FAMILIES if args.quick else FAMILIES)
        for variant in QUICK_VARIANTS if args.quick else VARIANTS:
            if code := bench.run(variant):
                return code
    print_table(bench.rows)
    if args.json:
        write_json(args.json, "enhancement", machine(), bench.rows, quick=args.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
