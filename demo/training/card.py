"""Write the model card of a trained model, every figure from its log and its evaluation.

python -m demo.training.card RUN EVALUATION.json --device "2 CPU cores"
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from demo.training.run import LOG

TEMPLATE = """---
license: apache-2.0
library_name: transformers
---
# {name}

{purpose} A `{architecture}` of {parameters:.2f} M parameters, trained from nothing on
drawn scenes{emoji}. It knows nothing else: of photographs or free text its scores mean little.

- Trained on {device}: {steps} steps in {minutes:.0f} minutes, seed {seed}.
- Weights: `model.safetensors`, SHA-256 `{sha256}`.
- Made by `python -m demo.training.{script}`; the recipe and the reasons are in `demo/training`.
- Measured by `python -m demo.training.evaluate` on {scenes} scenes of the `{split}` split, which
  shares no combination of two figures with training.

{tables}

## Limits
Classes of error stand apart because a mean hides them: read the lowest figure first.
"""
PURPOSES = {
    "clip": ("CLIPModel", "encoder", "The coarse encoder of the demo."),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", "judge", "The judge of the demo."),
}


def card(run: Path, evaluation: Mapping[str, Any], device: str, seed: int) -> str:
    """The card's text. Raises KeyError where the log or the evaluation lacks a figure."""
    model = run / "model"
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    architecture, script, purpose = PURPOSES[config["model_type"]]
    last = _last_line(run / LOG)
    return TEMPLATE.format(
        name=f"repick-{script}",
        purpose=purpose,
        architecture=architecture,
        parameters=_parameters(model) / 1e6,
        emoji=" and emoji" if _saw_emoji(run) else "",
        device=device,
        steps=last["step"],
        minutes=last["seconds"] / 60,
        seed=seed,
        sha256=_sha256(model / "model.safetensors"),
        script=script,
        scenes=evaluation["scenes"],
        split=evaluation["split"],
        tables="\n\n".join(_tables(evaluation["figures"], script)),
    )


def _tables(figures: Mapping[str, Any], script: str) -> Iterator[str]:
    if script == "encoder":
        yield _table("Encoder", {"true above false": figures})
        for direction in ("text_to_image", "image_to_text"):
            shown = ", ".join(f"{k.upper()} {v:.3f}" for k, v in figures[direction].items())
            yield f"{direction.replace('_', ' ')}, among these scenes: {shown}"
        for style, found in figures["emoji"].items():
            yield (
                f"Emoji of {style}, {found['pictures']} pictures: R@10 {found['seen']['r10']:.3f} "
                f"on seen concepts, {found['held_out']['r10']:.3f} on held-out ones"
            )
        return
    for direction in ("text_to_image", "image_to_text"):
        rows = {readout: each[direction] for readout, each in figures.items()}
        yield _table(direction.replace("_", " "), rows)


def _table(title: str, rows: Mapping[str, Any]) -> str:
    """How often the true caption scores above the false one: by class, then by error."""
    first = next(iter(rows.values()))
    columns = [*first["classes"], *first["accuracy"]]
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        values = {**row["classes"], **row["accuracy"]}
        lines.append(f"| {name} | " + " | ".join(f"{values[key]:.3f}" for key in columns) + " |")
    return "\n".join(lines)


def _last_line(log: Path) -> dict[str, Any]:
    lines = log.read_text(encoding="utf-8").splitlines()
    line: dict[str, Any] = json.loads(lines[-1])
    return line


def _saw_emoji(run: Path) -> bool:
    """Whether any line of the log counts rows or losses of emoji."""
    text = (run / LOG).read_text(encoding="utf-8")
    return '"emoji_name"' in text or '"style"' in text


def _parameters(model: Path) -> int:
    """Counted from the file's own header: eight bytes of its length, then JSON."""
    with (model / "model.safetensors").open("rb") as weights:
        header = json.loads(weights.read(int.from_bytes(weights.read(8), "little")))
    tensors = (tensor for name, tensor in header.items() if name != "__metadata__")
    return sum(math.prod(tensor["shape"]) for tensor in tensors)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("--device", required=True, help="in words, as in '2 CPU cores'")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    evaluation = json.loads(args.evaluation.read_text(encoding="utf-8"))
    text = card(args.run, evaluation, args.device, args.seed)
    (args.run / "model" / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
