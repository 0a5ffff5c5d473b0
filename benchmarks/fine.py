"""How many pairs a second the fine stage scores, against the released way and a naive batch.

    python -m benchmarks.fine [--quick] [--json FILE] [--device D] [--shape toy|2b|7b] [--k20]

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
from pathlib import Path
from typing import Any

import torch

from benchmarks import fine_workloads as workloads
from benchmarks.fine_cross_encoder import CrossEncoding, cross_encoding
from benchmarks.fine_report import Measured, Setting, report
from benchmarks.fine_shapes import SHAPES, make_model
from benchmarks.fine_ways import (
    ENHANCED,
    FIRST_TOKENS,
    Way,
    cold,
    library_attention,
    naive,
    ours,
    released,
    warm,
)
from benchmarks.report import machine, print_table, write_json
from worker.fine.engine import Engine
from worker.fine.limits import MemoryLimits
from worker.fine.placement import device_name, pick_device, pick_dtype


@dataclass(frozen=True, slots=True)
class Bench:
    """One model on one device, with how thoroughly it is measured."""

    model: Any
    engine: Engine
    device: torch.device
    shape: str
    quick: bool
    repeats: int
    large: bool
    cross: CrossEncoding
    processor_time: bool = False

    @property
    def batch(self) -> int:
        """Pairs of a naive batch."""
        return 16

    @property
    def setting(self) -> Setting:
        dtype = self.engine.dtype
        return Setting(self.model.config, self.device, dtype, self.shape, self.batch)

    def loads(self) -> list[workloads.Workload]:
        writer = workloads.Writer()
        k, documents = (8, 1) if self.quick else (20, 5)
        loads = workloads.interactive(writer, k)
        loads += [workloads.mixed(writer, k // 2 if self.quick else k)]
        loads += [workloads.nightly(writer, documents, queries) for queries in (2, 5, 10)]
        if self.large:
            large = workloads.interactive(writer, 100)
            loads += [
                workloads.Workload(f"{one.name}_k100", one.prompts, one.images) for one in large
            ]
        return loads

    def ways(self) -> list[Way]:
        run = partial(ours, self.engine)
        nothing = lambda load: None  # noqa: E731
        one_by_one, few = partial(released, self.model, self.device), 2 if self.quick else 4
        cross = partial(self.cross.run, batch=self.batch)
        others = [Way("cross_encoder", cross, nothing, few if self.quick else None)]
        return [
            Way("released", one_by_one, nothing, few),
            Way("naive", partial(naive, self.model, self.device, batch=self.batch), nothing),
            *(others if self.cross.encoder is not None else []),
            Way("cold", run, partial(cold, self.engine)),
            Way("warm", run, partial(warm, self.engine)),
            Way("enhanced", partial(run, spec=ENHANCED), partial(warm, self.engine)),
        ]


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
    theirs = _to_theirs(bench, load, margins["cross_encoder"]) if bench.cross.encoder else None
    return Measured(load, seconds, difference, statistics.pstdev(plain), theirs)


def _to_theirs(bench: Bench, load: workloads.Workload, margins: Sequence[float]) -> float:
    """The largest difference of our margins to the CrossEncoder's, of the tokens that it reads."""
    part = load.first(len(margins))
    mine = ours(bench.engine, part, labels=FIRST_TOKENS)
    return max(abs(a - b) for a, b in zip(mine, margins, strict=True))


def _timed(bench: Bench, way: Way, load: workloads.Workload) -> tuple[float, list[float]]:
    way.prepare(load)
    if way.name not in ("released", "naive", "cross_encoder"):
        return _clocked(bench, way, load)
    with library_attention(bench.model):
        return _clocked(bench, way, load)


def _clocked(bench: Bench, way: Way, load: workloads.Workload) -> tuple[float, list[float]]:
    clock = time.process_time if bench.processor_time else time.perf_counter
    start = clock()
    margins = way.run(load)  # ends with values on the host, so the device has finished
    return clock() - start, margins


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--shape", choices=list(SHAPES), default="toy")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count processor seconds: on the CPU with --threads 1, what others do matters less",
    )
    parser.add_argument("--k20", action="store_true", help="leave out k = 100, half of the time")
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
        repeats=2 if options.quick else 5,
        large=not (options.quick or options.k20),
        cross=cross_encoding(model, device),
        processor_time=options.processor_time,
    )
    print(f"{options.shape} on {device_name(device)}, {dtype}; CrossEncoder: {bench.cross.note}")
    loads = bench.loads()
    for way in bench.ways():  # the first call of anything is not what is measured
        _timed(bench, way, loads[0].first(2))
    rows = report(bench.setting, [measure(bench, load) for load in loads])
    print_table(rows)
    if options.json:
        where = machine(device_name(device)) | {
            "shape": options.shape,
            "cross_encoder": bench.cross.note,
        }
        write_json(options.json, "fine", where, rows, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
