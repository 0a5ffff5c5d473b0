"""How often a trained model tells true from false, by class of error.

    python -m demo.training.evaluate MODEL [--scenes 200] [--split test] [--json FILE]

MODEL is a folder as Hugging Face lays it out. It is loaded and asked as a worker does.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from demo.data.scenes import Caption, Error, Split
from demo.training.encoder_scores import encoder_figures
from demo.training.probes import Probe, means, probes, summary
from demo.training.recipe import SIDE
from repick.content import LoadedContent
from repick.jobs import PairScore
from repick.specs import ImageLimits, Readout, ScorerSpec
from worker.checkpoints import open_checkpoint
from worker.fine.scorer import FineModel

BATCH = 64


def judge_figures(
    model: FineModel, asked: Sequence[Probe], *, enhanced: bool = False
) -> dict[str, Any]:
    """By readout and direction: `accuracy` how often the true caption scores above the false one,
    `rejected` how often the false one is said to be false, by error and by SugarCrepe's class;
    `accepted` how often the true one is said to be true.
    """
    figures: dict[str, Any] = {}
    for spec in model.specs:
        if (spec.enhancement is not None) == enhanced:
            figures[spec.readout.value] = {
                "text_to_image": _by_error(model, spec, asked, image_asks=False),
                "image_to_text": _by_error(model, spec, asked, image_asks=True),
            }
    return figures


def _by_error(
    model: FineModel, spec: ScorerSpec, asked: Sequence[Probe], *, image_asks: bool
) -> dict[str, Any]:
    pairs = [(probe, caption) for probe in asked for caption in _captions(probe)]
    margins = iter(list(_margins(model, spec, pairs, image_asks=image_asks)))
    above: dict[Error, list[bool]] = defaultdict(list)
    rejected: dict[Error, list[bool]] = defaultdict(list)
    accepted = []
    for probe in asked:
        true = next(margins)
        accepted.append(true > 0)
        for error in probe.wrong:
            false = next(margins)
            above[error].append(true > false)
            rejected[error].append(false < 0)
    return {"accepted": fmean(accepted), **summary(above), "rejected": means(rejected)}


def _captions(probe: Probe) -> Iterator[Caption]:
    yield from (probe.right, *probe.wrong.values())


def _margins(
    model: FineModel,
    spec: ScorerSpec,
    pairs: Sequence[tuple[Probe, Caption]],
    *,
    image_asks: bool,
) -> Iterator[float]:
    for start in range(0, len(pairs), BATCH):
        prepared = []
        for probe, caption in pairs[start : start + BATCH]:
            text = LoadedContent(-1, caption.text)
            query, document = (probe.image, text) if image_asks else (text, probe.image)
            prepared.append(model.prepare(query, document, spec))
        yield from map(decision, model.score(prepared))


def decision(score: PairScore) -> float:
    """The margin; of `paper`, which has none, that of its two labels."""
    if score.margin is not None:
        return score.margin
    return score.label_logits[0][0] - score.label_logits[0][1]


def load_judge(folder: Path, device: str = "cpu") -> FineModel:
    """A trained judge with all readouts, seeing pictures at the size that it was trained on."""
    return FineModel.load(
        open_checkpoint(str(folder)),
        readouts=list(Readout),
        device=device,
        dtype="float32",
        images=ImageLimits(SIDE * SIDE, SIDE * SIDE),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--split", type=Split, default=Split.TEST, choices=list(Split))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--enhanced", action="store_true", help="with visual enhancement")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    asked = probes(args.scenes, args.split)
    kind = json.loads((args.model / "config.json").read_text(encoding="utf-8"))["model_type"]
    if kind == "clip":
        figures = encoder_figures(args.model, asked, args.device)
    else:
        model = load_judge(args.model, args.device)
        figures = judge_figures(model, asked, enhanced=args.enhanced)
    text = json.dumps({"split": args.split, "scenes": args.scenes, "figures": figures}, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
