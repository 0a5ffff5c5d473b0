"""How many pairs a second the fine stage scores, against the released way and a naive batch.

    python -m benchmarks.fine [--quick] [--json FILE] [--device cpu|cuda] [--shape toy|2b|7b]

Random weights at true proportions; every way scores the same pairs, and their margins are
compared. All ways of a workload are measured in turn, so that a ratio's two sides see the same
machine; the figures are medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks import fine_workloads as workloads
from benchmarks.fine_peak import matrix_peak, necessary_flops
from benchmarks.fine_shapes import SHAPES, make_model
from benchmarks.fine_ways import (
    ENHANCED,
    Way,
    cold,
    library_attention,
    naive,
    ours,
    released,
    warm,
)
from benchmarks.report import Row, machine, print_table, write_json
from worker.fine.engine import Engine
from worker.fine.limits import MemoryLimits
from worker.fine.placement import device_name, pick_device, pick_dtype

GOALS_CPU = {
    "image_image_warm_x": 2.8,
    "text_image_cold_x": 1.15,
    "text_image_warm_x": 2.1,
    "image_text_x": 4.0,
    "nightly10_warm_x": 7.0,
    "nightly10_cold_x": 5.0,
    "over_released_min_x": 3.0,
}
GOALS_GPU = {
    "image_image_warm_x": 2.5,
    "image_image_cold_x": 1.9,
    "nightly10_warm_x": 4.5,
    "nightly10_cold_x": 4.0,
}


@dataclass(frozen=True, slots=True)
class Bench:
    """One model on one device, with how thoroughly it is measured."""

    model: Any
    engine: Engine
    device: torch.device
    shape: str
    quick: bool

    @property
    def batch(self) -> int:
        """Pairs of a naive batch."""
        return 8 if self.device.type == "cpu" else 16

    @property
    def repeats(self) -> int:
        return 1 if self.quick else 5

    def loads(self) -> list[workloads.Workload]:
        writer = workloads.Writer()
        k, documents = (8, 2) if self.quick else (20, 5)
        loads = workloads.interactive(writer, k)
        loads += [workloads.mixed(writer, k)]
        loads += [workloads.nightly(writer, documents, queries) for queries in (2, 5, 10)]
        if not self.quick:
            large = workloads.interactive(writer, 100)
            loads += [
                workloads.Workload(f"{one.name}_k100", one.prompts, one.images) for one in large
            ]
        return loads

    def ways(self) -> list[Way]:
        run = partial(ours, self.engine)
        nothing = lambda load: None  # noqa: E731
        return [
            Way(
                "released",
                partial(released, self.model, self.device),
                nothing,
                2 if self.quick else 4,
            ),
            Way("naive", partial(naive, self.model, self.device, batch=self.batch), nothing),
            Way("cold", run, partial(cold, self.engine)),
            Way("warm", run, partial(warm, self.engine)),
            Way("enhanced", partial(run, spec=ENHANCED), partial(warm, self.engine)),
        ]


@dataclass(frozen=True, slots=True)
class Measured:
    """A workload's seconds a pair by way (medians), and its largest difference of margins."""

    load: workloads.Workload
    seconds: dict[str, float]
    difference: float
    spread: float

    def ratio(self, way: str, over: str = "naive") -> float:
        return self.seconds[over] / self.seconds[way]


def measure(bench: Bench, load: workloads.Workload) -> Measured:
    """All ways in turn, `repeats` times over."""
    times: dict[str, list[float]] = {}
    margins: dict[str, list[float]] = {}
    for _ in range(bench.repeats):
        for way in bench.ways():
            part = load.first(way.pairs or len(load))
            taken, margins[way.name] = _timed(bench, way, part)
            times.setdefault(way.name, []).append(taken / len(part))
    plain = margins["naive"]
    difference = max(
        abs(a - b) for way in ("cold", "warm") for a, b in zip(margins[way], plain, strict=True)
    )
    seconds = {way: statistics.median(values) for way, values in times.items()}
    return Measured(load, seconds, difference, statistics.pstdev(plain))


def _timed(bench: Bench, way: Way, load: workloads.Workload) -> tuple[float, list[float]]:
    way.prepare(load)
    if way.name not in ("released", "naive"):
        return _clocked(bench, way, load)
    with library_attention(bench.model):
        return _clocked(bench, way, load)


def _clocked(bench: Bench, way: Way, load: workloads.Workload) -> tuple[float, list[float]]:
    start = time.perf_counter()
    margins = way.run(load)  # ends with values on the host, so the device has finished
    return time.perf_counter() - start, margins


def report(bench: Bench, found: Sequence[Measured]) -> list[Row]:
    by_name = {one.load.name: one for one in found}
    values = {
        "image_image_warm_x": by_name["image_image"].ratio("warm"),
        "image_image_cold_x": by_name["image_image"].ratio("cold"),
        "text_image_cold_x": by_name["text_image"].ratio("cold"),
        "text_image_warm_x": by_name["text_image"].ratio("warm"),
        "image_text_x": by_name["image_text"].ratio("cold"),
        "mixed_cold_x": by_name["mixed"].ratio("cold"),
        "mixed_warm_x": by_name["mixed"].ratio("warm"),
        "nightly2_warm_x": by_name["nightly2"].ratio("warm"),
        "nightly5_warm_x": by_name["nightly5"].ratio("warm"),
        "nightly10_warm_x": by_name["nightly10"].ratio("warm"),
        "nightly10_cold_x": by_name["nightly10"].ratio("cold"),
        "over_released_min_x": min(one.ratio("enhanced", "released") for one in found),
    }
    goals = GOALS_CPU if bench.device.type == "cpu" else GOALS_GPU
    rows = [
        Row(name, value, "x", goals.get(name), ">=" if name in goals else None)
        for name, value in values.items()
    ]
    rows += [
        Row(f"{one.load.name}_{way}", 1 / seconds, "pairs/s")
        for one in found
        for way, seconds in one.seconds.items()
    ]
    rows += [*_quality(bench, found), *_peak(bench, by_name["image_image"])]
    return rows


def _quality(bench: Bench, found: Sequence[Measured]) -> list[Row]:
    """What does not depend on a ratio over naive: enhancement's cost, equality, padding."""
    costs = [one.seconds["enhanced"] / one.seconds["warm"] - 1 for one in found if _sees(one)]
    worst = max(found, key=lambda one: one.difference / (1e-4 * one.spread + 1e-6))
    exact = bench.engine.dtype is torch.float32
    goal = 1e-4 * worst.spread + 1e-6 if exact else None
    limit = 0.06 if bench.device.type == "cpu" else 0.03
    return [
        Row("enhancement_overhead", statistics.median(costs), "share", limit, "<="),
        Row("largest_margin_difference", worst.difference, "", goal, "<=" if goal else None),
        Row("margin_std", worst.spread, ""),
        *(
            Row(f"{one.load.name}_naive_padding", _padding(bench, one.load), "share")
            for one in found
        ),
    ]


def _sees(one: Measured) -> bool:
    return any(one.load.images)


def _padding(bench: Bench, load: workloads.Workload) -> float:
    """The share of a naive batch's tokens that are padding; ours has none outside attention."""
    real = total = 0
    for start in range(0, len(load), bench.batch):
        lengths = [prompt.length for prompt in load.prompts[start : start + bench.batch]]
        real, total = real + sum(lengths), total + len(lengths) * max(lengths)
    return 1 - real / total


def _peak(bench: Bench, one: Measured) -> list[Row]:
    """The share of the device's measured matrix peak that the necessary arithmetic reaches."""
    if bench.device.type == "cpu":
        return []
    peak = matrix_peak(bench.device, bench.engine.dtype)
    needed = necessary_flops(bench.model.config, one.load)
    share = needed / (one.seconds["cold"] * len(one.load)) / peak
    goal = 0.5 if bench.shape == "7b" else None
    return [
        Row("matrix_peak", peak / 1e12, "TFLOP/s"),
        Row("peak_share", share, "share", goal, ">=" if goal else None),
    ]


def cross_encoder_note(shape: str) -> str:
    """Way (c): sentence-transformers' CrossEncoder, where it could run this very model."""
    if find_spec("sentence_transformers") is None:
        return "(c) CrossEncoder: not measured, sentence-transformers is not installed"
    return (
        "(c) CrossEncoder: not measured, it loads a checkpoint with tokenizer and processor, and "
        f"the {shape} model here has random weights and neither"
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--shape", choices=list(SHAPES), default="toy")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    dtype = torch.float32 if options.shape == "toy" else pick_dtype("auto", device)
    model, family = make_model(options.shape, device, dtype)
    bench = Bench(
        model,
        Engine(family, "benchmark", MemoryLimits.of(device)),
        device,
        options.shape,
        options.quick,
    )
    print(f"{options.shape} on {device_name(device)}, {dtype}; {cross_encoder_note(options.shape)}")
    loads = bench.loads()
    for way in bench.ways():  # the first call of anything is not what is measured
        _timed(bench, way, loads[0].first(2))
    rows = report(bench, [measure(bench, load) for load in loads])
    print_table(rows)
    if options.json:
        where = machine(device_name(device)) | {"shape": options.shape}
        write_json(options.json, "fine", where, rows, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
