"""Whether memory stays flat over many pairs that never come again.

    python -m benchmarks.memory [--pairs N] [--quick] [--json FILE] [--device D]

Every document is a new image, so every store turns over many times; the resident memory (and on
CUDA the device's) is compared between the first fifth of the run and its end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch

from benchmarks.fine_shapes import make_model
from benchmarks.fine_ways import ENHANCED, ours
from benchmarks.fine_workloads import Writer, workload
from benchmarks.report import Row, machine, print_table, write_json
from worker.fine.engine import Engine
from worker.fine.limits import MemoryLimits
from worker.fine.placement import device_name, pick_device

_MIB = 1024 * 1024
_SMALL = ((1, 4, 4), (1, 4, 8), (1, 8, 4))
_SLICE = 64


def grow(engine: Engine, device: torch.device, pairs: int) -> list[float]:
    """Score `pairs` new pairs, half of them text queries; MiB in use after each twentieth."""
    writer, used = Writer(), []
    queries = [writer.text(8), writer.image(_SMALL[0])]
    slices = max(20, pairs // _SLICE)
    for no in range(slices):
        documents = [writer.image(_SMALL[(no + one) % 3]) for one in range(_SLICE // 2)]
        ours(engine, workload("memory", writer, queries, documents), ENHANCED)
        if (no + 1) % (slices // 20) == 0:
            used.append(_in_use(device))
    return used


def _in_use(device: torch.device) -> float:
    resident = float(psutil.Process().memory_info().rss) / _MIB
    if device.type != "cuda":
        return resident
    return resident + torch.cuda.memory_reserved(device) / _MIB


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    device = pick_device(options.device)
    pairs = 1_280 if options.quick else options.pairs
    _, family = make_model("toy", device, torch.float32)
    limits = MemoryLimits(1024, 4 * _MIB, 4 * _MIB, 8 * _MIB)
    used = grow(Engine(family, "benchmark", limits), device, pairs)
    rows = [
        Row("pairs", pairs, ""),
        Row("memory_after_a_fifth", used[3], "MiB"),
        Row("memory_at_the_end", used[-1], "MiB"),
        Row("memory_growth", used[-1] / used[3] - 1, "share", 0.05, "<="),
    ]
    print_table(rows)
    if options.json:
        write_json(options.json, "memory", machine(device_name(device)), rows, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
