"""How near the coarse encoder comes to its bare model when it embeds pictures.

    python -m benchmarks.encoder [--quick] [--json FILE] [--device D] [--model FOLDER]

The demo's encoder on drawn scenes, in the worker's batches: the towers alone on prepared pixels
(`bare`), resizing and towers one after the other (`in_turn`), and as a worker does it, resized by
threads beside the device thread (`overlapped`). Where device and threads share the cores, nothing
can be won by overlapping; on an accelerator it should come to `bare`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.precision import content
from benchmarks.report import Row, machine, print_table, write_json
from demo import drawn
from demo.models import ENCODER, MODELS
from repick.content import LoadedContent
from worker.checkpoints import open_checkpoint
from worker.coarse import BATCH, Encoder, Role
from worker.device import Device
from worker.fine.placement import device_name, pick_device

THREADS, REPEATS = 4, 5

Batches = Sequence[Sequence[LoadedContent]]


@dataclass(frozen=True, slots=True)
class Bench:
    encoder: Encoder
    batches: Batches

    def bare(self) -> float:
        """Seconds of the towers alone."""
        prepared = [self._prepare(batch) for batch in self.batches]
        return _seconds(lambda: [run() for run in prepared])

    def in_turn(self) -> float:
        return _seconds(lambda: [self._prepare(batch)() for batch in self.batches])

    def overlapped(self) -> float:
        with Device(deadline_s=60) as device, ThreadPoolExecutor(THREADS) as pool:

            def embed(batch: Sequence[LoadedContent]) -> None:
                work: Future[Any] = device.submit(self._prepare(batch), bulk=True)
                work.result()

            return _seconds(lambda: list(pool.map(embed, self.batches)))

    def _prepare(self, batch: Sequence[LoadedContent]) -> Callable[[], Any]:
        return self.encoder.prepare(batch, Role.DOCUMENT)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(bench: Bench, repeats: int) -> list[Row]:
    """Medians; the ways in turn, so that they see the same machine."""
    ways = {"bare": bench.bare, "in_turn": bench.in_turn, "overlapped": bench.overlapped}
    bench.in_turn()  # the first call of anything is not what is measured
    taken = [{name: way() for name, way in ways.items()} for _ in range(repeats)]
    items = sum(map(len, bench.batches))
    rates = {name: items / statistics.median(one[name] for one in taken) for name in ways}
    return [
        Row("items", items, ""),
        *(Row(f"{name}_items_per_s", rate, "items/s") for name, rate in rates.items()),
        Row("overlapped_to_bare", rates["overlapped"] / rates["bare"], "share"),
        Row("overlapped_to_in_turn", rates["overlapped"] / rates["in_turn"], "x"),
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", type=Path, default=MODELS / ENCODER)
    options = parser.parse_args(arguments)
    load = partial(Encoder.load, open_checkpoint(str(options.model)), dtype="auto")
    families = drawn.make_families(40 if options.quick else 160, seed=13)
    pictures = [content(one) for one in drawn.pictures_of(families)]
    batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    bench = Bench(load(device=options.device), batches)
    rows = measure(bench, 2 if options.quick else REPEATS)
    print_table(rows)
    if options.json:
        where = machine(device_name(pick_device(options.device)))
        write_json(options.json, "encoder", where, rows, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
