"""How near loading a corpus of pictures comes to the speed of the bare encoder.

    python -m benchmarks.loading [--quick] [--json FILE] [--threads N]

20,000 pictures (`--quick`: 3,000) go the way of `repick corpus load` into the whole stack, with the
demo's encoder; the time is from the first request to the last vector, so it holds checking, storing
and decoding them too. The bare encoder is the same model in a process of its own, before and after,
with nothing but its towers on prepared pixels. Both have the same `--threads`: with one, the other
cores are left to the API, Postgres and what prepares, as an accelerator leaves all of them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from benchmarks.encoder import Bench
from benchmarks.precision import content
from benchmarks.report import Row, machine, print_table, write_json
from demo import drawn
from demo.models import ENCODER, MODELS
from repick.client import Client, Item
from repick.loading.journal import Journal
from repick.loading.load import load
from repick.loading.sources import Source
from repick.settings import Settings
from repick.stack import Addresses, run_stack
from repick.stack.services import KEEPING_MEMORY
from worker.checkpoints import open_checkpoint
from worker.coarse import BATCH, Encoder

CORPUS = "loading"
ITEMS, QUICK_ITEMS, BARE_ITEMS = 20_000, 3_000, 1_024
FAMILIES, SEED = 64, 17
WARM_ITEMS = 256
"""Put before the clock starts: the worker learns its device's pace, the API starts its decoders."""
GOAL = 0.85


@dataclass(frozen=True, slots=True)
class Loaded:
    """`stored_s` until the last request was answered, `embedded_s` until the last vector."""

    items: int
    stored_s: float
    embedded_s: float


def numbered(picture: bytes, number: int) -> bytes:
    """The PNG with a comment before its end: the same pixels, other bytes, so nothing is reused."""
    body = b"tEXt" + b"number\0" + str(number).encode()
    chunk = struct.pack("!I", len(body) - 4) + body + struct.pack("!I", zlib.crc32(body))
    return picture[:-12] + chunk + picture[-12:]


def pictures(count: int) -> Iterator[Item]:
    made = [one.image for one in drawn.pictures_of(drawn.make_families(FAMILIES, SEED))]
    for number, picture in enumerate(itertools.islice(itertools.cycle(made), count)):
        assert picture is not None
        yield Item(f"picture-{number}", image=numbered(picture, number))


def through_service(client: Client, folder: Path, count: int) -> Loaded:
    made = list(pictures(WARM_ITEMS + count))
    client.create_corpus(CORPUS)
    client.put_items(CORPUS, made[:WARM_ITEMS])
    _embedded(client, WARM_ITEMS)
    source = Source(folder, "made here", count, lambda: iter(made[WARM_ITEMS:]))
    started = time.perf_counter()
    done = load(client, CORPUS, source, Journal(folder, "benchmark", CORPUS, source))
    stored = time.perf_counter()
    if done.stored != count:
        raise RuntimeError(f"{done.stored} of {count} were stored: {done.failed[:3]}")
    _embedded(client, WARM_ITEMS + count)
    return Loaded(count, stored - started, time.perf_counter() - started)


def _embedded(client: Client, count: int) -> None:
    while (seen := client.corpus(CORPUS)).embedded < count:
        if seen.failed:
            raise RuntimeError(f"{seen.failed} items have no vector")
        time.sleep(0.1)


def bare_rate(count: int) -> float:
    """Items a second of the towers alone; in a process that has nothing else to do."""
    made = drawn.pictures_of(drawn.make_families(FAMILIES, SEED))
    loaded = [content(one) for one in itertools.islice(itertools.cycle(made), count)]
    batches = [loaded[start : start + BATCH] for start in range(0, count, BATCH)]
    checkpoint = open_checkpoint(str(MODELS / ENCODER))
    encoder = Encoder.load(checkpoint, device=Settings().device, dtype=Settings().dtype)
    Bench(encoder, batches[:2]).bare()  # the first call of anything is not what is measured
    return count / Bench(encoder, batches).bare()


def bare(count: int) -> float:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(bare_rate, count).result()


def report(loaded: Loaded, bare_rates: Sequence[float]) -> list[Row]:
    rate, bare_mean = loaded.items / loaded.embedded_s, sum(bare_rates) / len(bare_rates)
    return [
        Row("items", loaded.items, ""),
        Row("loading_items_per_s", rate, "items/s"),
        Row("bare_items_per_s", bare_mean, "items/s"),
        Row("loading_share", rate / bare_mean, "share", GOAL, ">="),
        Row("stored_items_per_s", loaded.items / loaded.stored_s, "items/s"),
    ]


def measure(count: int, bare_count: int) -> tuple[int, list[Row]]:
    """The stack's exit code, and the rows where it is 0."""
    found: list[Loaded] = []
    rates = [bare(bare_count)]
    with tempfile.TemporaryDirectory(prefix="repick-loading-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, Postgres runs as another user

        def ask(addresses: Addresses) -> int:
            with Client(addresses.api_url, addresses.api_key) as client:
                found.append(through_service(client, folder / "journal", count))
            return 0

        code = run_stack(Settings(data_dir=folder), on_ready=ask, quiet=True)
    if code:
        return code, []
    return 0, report(found[0], [*rates, bare(bare_count)])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=1, help="of the encoder, in both")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.update(KEEPING_MEMORY)  # the bare encoder's process is like the stack's worker
    code, rows = measure(QUICK_ITEMS if options.quick else ITEMS, BARE_ITEMS)
    if rows:
        print_table(rows)
        if options.json:
            where = machine() | {"encoder_threads": options.threads}
            write_json(options.json, "loading", where, rows, quick=options.quick)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
