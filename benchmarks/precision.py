"""Whether bfloat16 ranks the demo's documents as float32 does.

    python -m benchmarks.precision [--quick] [--json FILE] [--device D] [--model FOLDER]
        [--untrained]

Queries in words, with pictures and with both against drawn scenes and captions, judged by the
demo's trained model with its own readout, enhancement off and on; Kendall's τ-b of the two
margins, query by query. `--model` is another checkpoint's folder; `--untrained` takes the random
stand-in.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from PIL import Image

from benchmarks.report import Row, machine, print_table, write_json
from demo import drawn
from demo.documents import DemoItem, DemoQuery
from demo.models import JUDGE, MODELS, READOUT, SIDE
from demo.stand_ins import QWEN, make_stand_ins
from repick.content import LoadedContent
from repick.specs import ImageLimits, Readout
from worker.checkpoints import open_checkpoint
from worker.fine.scorer import FineModel

_PIXELS = ImageLimits(min_pixels=16 * 28 * 28, max_pixels=64 * 28 * 28)


@dataclass(frozen=True, slots=True)
class Judge:
    """A checkpoint, how it is asked, and the pixels of its images."""

    folder: Path
    readout: Readout
    images: ImageLimits


def content(one: DemoItem | DemoQuery) -> LoadedContent:
    if one.image is None:
        return LoadedContent(0, one.text)
    image = Image.open(io.BytesIO(one.image)).convert("RGB")
    return LoadedContent(0, one.text, image, hashlib.sha256(one.image).digest())


Margins = list[list[float]]


def margins(
    judge: Judge, device: str, dtype: str, queries: Sequence[DemoQuery], items: Sequence[DemoItem]
) -> dict[str, Margins]:
    """The margins of all items for each query, without enhancement ("plain") and with."""
    model = FineModel.load(
        open_checkpoint(str(judge.folder)),
        readouts=[judge.readout],
        device=device,
        dtype=dtype,
        images=judge.images,
    )
    documents = [content(item) for item in items]
    found: dict[str, Margins] = {}
    for spec in model.specs:
        rows = found.setdefault("enhanced" if spec.enhancement else "plain", [])
        for query in map(content, queries):
            scores = model.score([model.prepare(query, document, spec) for document in documents])
            rows.append([score.margin for score in scores if score.margin is not None])
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


def compare(name: str, exact: Margins, rounded: Margins) -> list[Row]:
    taus = [kendall(one, other) for one, other in zip(exact, rounded, strict=True)]
    pairs = [pair for rows in zip(exact, rounded, strict=True) for pair in zip(*rows, strict=True)]
    return [
        Row(f"{name}_margin_std", statistics.fmean(map(statistics.pstdev, exact)), ""),
        Row(f"{name}_largest_margin_difference", max(abs(a - b) for a, b in pairs), ""),
        Row(f"{name}_kendall_tau_mean", statistics.fmean(taus), "", 0.98, ">="),
        Row(f"{name}_kendall_tau_least", min(taus), ""),
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--untrained", action="store_true")
    options = parser.parse_args(arguments)
    kinds = (drawn.text_queries(), drawn.image_queries(), drawn.composed_queries())
    queries = [query for kind in kinds for query in kind[:2]]
    items = [*drawn.scene_items()[:100], *drawn.caption_items()[:100]]
    if options.quick:
        queries, items = [kind[0] for kind in kinds], [*items[:30], *items[100:130]]
    with tempfile.TemporaryDirectory() as aside:
        judge = _judge(options.model, Path(aside), untrained=options.untrained)
        exact, rounded = (
            margins(judge, options.device, dtype, queries, items)
            for dtype in ("float32", "bfloat16")
        )
    rows = [Row("pairs", len(queries) * len(items), "")]
    for name in exact:
        rows += compare(name, exact[name], rounded[name])
    print_table(rows)
    if options.json:
        where = machine(options.device)
        write_json(options.json, "precision", where, rows, quick=options.quick)
    return 0


def _judge(model: Path | None, aside: Path, *, untrained: bool) -> Judge:
    if untrained:
        make_stand_ins(aside)
        return Judge(aside / QWEN, Readout.CHOICE, _PIXELS)
    if model is not None:
        return Judge(model, Readout.CHOICE, _PIXELS)
    side = ImageLimits(SIDE * SIDE, SIDE * SIDE)
    return Judge(MODELS / JUDGE, Readout(READOUT.split(":")[0]), side)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
