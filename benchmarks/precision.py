"""Whether bfloat16 ranks the demo's documents as float32 does.

    python -m benchmarks.precision [--quick] [--json FILE] [--device D] [--models FOLDER]

Queries in words, with pictures and with both against drawn scenes and captions, with the untrained
stand-in; Kendall's τ-b of the two margins, query by query. `--models` is a folder of stand-ins;
without one they are made in a temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from PIL import Image

from benchmarks.report import Row, machine, print_table, write_json
from demo import drawn
from demo.documents import DemoItem, DemoQuery
from demo.stand_ins import QWEN, make_stand_ins
from repick.content import LoadedContent
from repick.specs import ImageLimits, Readout
from worker.checkpoints import open_checkpoint
from worker.fine.scorer import FineModel

_LIMITS = ImageLimits(min_pixels=16 * 28 * 28, max_pixels=64 * 28 * 28)


def content(one: DemoItem | DemoQuery) -> LoadedContent:
    if one.image is None:
        return LoadedContent(0, one.text)
    image = Image.open(io.BytesIO(one.image)).convert("RGB")
    return LoadedContent(0, one.text, image, hashlib.sha256(one.image).digest())


def margins(
    folder: Path, device: str, dtype: str, queries: Sequence[DemoQuery], items: Sequence[DemoItem]
) -> list[list[float]]:
    """The margins of all items for each query, enhancement on."""
    model = FineModel.load(
        open_checkpoint(str(folder)),
        readouts=[Readout.CHOICE],
        device=device,
        dtype=dtype,
        images=_LIMITS,
    )
    spec = next(spec for spec in model.specs if spec.enhancement)
    documents = [content(item) for item in items]
    found = []
    for query in map(content, queries):
        scores = model.score([model.prepare(query, document, spec) for document in documents])
        found.append([score.margin for score in scores if score.margin is not None])
    return found


def kendall(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's τ-b, which takes ties into account."""
    agreed = ties_one = ties_other = pairs = 0
    for i, j in combinations(range(len(one)), 2):
        a, b = one[i] - one[j], other[i] - other[j]
        agreed += (a * b > 0) - (a * b < 0)
        ties_one, ties_other, pairs = ties_one + (a == 0), ties_other + (b == 0), pairs + 1
    scale: float = ((pairs - ties_one) * (pairs - ties_other)) ** 0.5
    return agreed / scale


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", type=Path)
    options = parser.parse_args(arguments)
    kinds = (drawn.text_queries(), drawn.image_queries(), drawn.composed_queries())
    queries = [query for kind in kinds for query in kind[:2]]
    items = [*drawn.scene_items()[:100], *drawn.caption_items()[:100]]
    if options.quick:
        queries, items = queries[:2], items[:40]
    with tempfile.TemporaryDirectory() as aside:
        models = options.models or Path(aside)
        make_stand_ins(models)
        exact, rounded = (
            margins(models / QWEN, options.device, dtype, queries, items)
            for dtype in ("float32", "bfloat16")
        )
    taus = [kendall(one, other) for one, other in zip(exact, rounded, strict=True)]
    rows = [
        Row("pairs", len(queries) * len(items), ""),
        Row("margin_std", statistics.fmean(map(statistics.pstdev, exact)), ""),
        Row(
            "largest_margin_difference",
            max(
                abs(a - b)
                for x, y in zip(exact, rounded, strict=True)
                for a, b in zip(x, y, strict=True)
            ),
            "",
        ),
        Row("kendall_tau_mean", statistics.fmean(taus), "", 0.98, ">="),
        Row("kendall_tau_least", min(taus), ""),
    ]
    print_table(rows)
    if options.json:
        where = machine(options.device)
        write_json(options.json, "precision", where, rows, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
