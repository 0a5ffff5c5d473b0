"""Train the judge: python -m demo.training.judge FOLDER [--small] [--begin-with MODEL] …

FOLDER gets `checkpoint.pt` and `log.jsonl` while it runs, from which a later run goes on, and at
the end `model/`, a folder as Hugging Face lays it out.
"""

from __future__ import annotations

import functools
import json
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import Qwen2Tokenizer

from demo.data.scenes import Split
from demo.training.batches import Maker
from demo.training.collate import MEAN, STD, Batch, collate
from demo.training.command import arguments
from demo.training.feed import feed
from demo.training.judge_model import JudgeTrainer, Outcome, build_judge
from demo.training.recipe import JUDGES, MERGE, PATCH, SIDE, JudgeRecipe, Stage
from demo.training.run import Run
from demo.training.speech import Speech
from demo.training.vocabulary import judge_tokenizer, of_run

VALIDATION = Stage("validation", 1, 2, (0.1, 0.4, 0.5), (0.3, 0, 0.7))
VALIDATION_PICTURES = 32
IMAGES = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "min_pixels": SIDE * SIDE,
    "max_pixels": SIDE * SIDE,
    "patch_size": PATCH,
    "temporal_patch_size": 2,
    "merge_size": MERGE,
    "image_mean": MEAN,
    "image_std": STD,
}


class Tally:
    """Means of losses, and how often rows of each kind were right, since it was last read."""

    def __init__(self) -> None:
        self._parts: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._right: list[tuple[tuple[str, ...], torch.Tensor]] = []

    def add(self, outcome: Outcome, batch: Batch) -> None:
        for name, value in outcome.parts.items():
            self._parts[name].append(value)
        self._right.append((batch.graded, outcome.right))

    def read(self) -> dict[str, Any]:
        """{"loss": {part: mean}, "accuracy": {kind: share}, "rows": {kind: count}}, then empty."""
        loss = {name: _rounded(values) for name, values in self._parts.items()}
        by_kind: dict[str, list[bool]] = defaultdict(list)
        for kinds, right in self._right:  # waits for the device once a step, here and not before
            for kind, value in zip(kinds, right.tolist(), strict=True):
                by_kind[kind].append(value)
        accuracy = {kind: round(fmean(values), 4) for kind, values in sorted(by_kind.items())}
        rows = {kind: len(values) for kind, values in sorted(by_kind.items())}
        self._parts.clear()
        self._right.clear()
        return {"loss": loss, "accuracy": accuracy, "rows": rows}


def _rounded(values: list[torch.Tensor]) -> float:
    return round(float(torch.stack(values).float().mean()), 4)


def train(
    folder: Path,
    recipe: JudgeRecipe,
    device: torch.device,
    seed: int,
    begin_with: Path | None = None,
) -> Path:
    """Train to the end of the recipe's budget, or on from a checkpoint; returns the model's folder.

    `begin_with` is a trained model whose weights and tokenizer a new run begins with. The same
    seed gives the same batches at the same steps; a run that is stopped keeps its checkpoint and
    returns the folder of the model as far as it came.
    """
    torch.manual_seed(seed)
    tokenizer = tokenizer_of(folder, recipe, begin_with)
    trainer = JudgeTrainer(_model(recipe, tokenizer, begin_with)).to(device)
    run = Run.start(folder, trainer, recipe.budget, seed)
    speech = Speech(tokenizer)
    with run.stoppable():
        while not run.done:
            _train_stage(run, recipe, speech, device)
    run.save()
    run.log("validation", validate(trainer, speech, device, run.budget.validation))
    save_model(folder / "model", trainer, tokenizer)
    return folder / "model"


def _train_stage(run: Run, recipe: JudgeRecipe, speech: Speech, device: torch.device) -> None:
    """Steps of the present stage until it is learned, has used its share, or the run is done."""
    stage, budget, trainer = recipe.stages[run.progress.stage], run.budget, run.module
    make = functools.partial(make_batch, Maker(speech, stage, recipe.rows_per_image), budget.images)
    make = functools.partial(make, run.seed)
    tally = Tally()
    trainer.train()
    for _, made in feed(make, run.progress.step, budget.steps, budget.workers):
        began, batch = time.perf_counter(), made.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            outcome = trainer(batch)
        run.descend(outcome.loss, began)
        tally.add(outcome, batch)
        learned = False
        if run.progress.step % budget.log_every == 0 or run.done:
            values = tally.read()
            run.log("train", {"stage_name": stage.name, **values})
            learned = values["accuracy"].get("look_up", 0) >= stage.gate
        if run.progress.step % budget.save_every == 0:
            run.log("validation", validate(trainer, speech, device, run.budget.validation))
            run.save()
        if run.done or _next_stage(run, recipe, learned=learned):
            return


def _next_stage(run: Run, recipe: JudgeRecipe, *, learned: bool) -> bool:
    """Go on to the next stage, if there is one and this one is learned or has had its share."""
    stage = recipe.stages[run.progress.stage]
    last = run.progress.stage == len(recipe.stages) - 1
    if last or not (learned or run.stage_share >= stage.share):
        return False
    run.progress.stage += 1
    run.progress.stage_began = run.progress.step
    run.progress.stage_began_at = run.progress.share(run.budget)
    return True


def make_batch(maker: Maker, images: int, seed: int, step: int) -> Batch:
    return collate(*maker.batch(images, seed, step))


@torch.inference_mode()
def validate(trainer: Any, speech: Speech, device: torch.device, batches: int) -> dict[str, Any]:
    """Loss and accuracy by class of error on scenes of the validation split, always the same."""
    maker, tally = Maker(speech, VALIDATION, 4, Split.VALIDATION), Tally()
    trainer.eval()
    for step in range(batches):
        batch = make_batch(maker, VALIDATION_PICTURES, 0, step).to(device)
        tally.add(trainer(batch), batch)
    trainer.train()
    return tally.read()


def save_model(folder: Path, trainer: Any, tokenizer: Qwen2Tokenizer) -> None:
    """Write the model without its training heads, with all that loading needs."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGES, indent=2) + "\n")


def _model(recipe: JudgeRecipe, tokenizer: Qwen2Tokenizer, begin_with: Path | None) -> Any:
    model = build_judge(recipe.size, tokenizer)
    if begin_with:
        missing, unknown = model.load_state_dict(
            load_file(begin_with / "model.safetensors"), strict=False
        )
        if unknown or set(missing) - {"lm_head.weight"}:  # tied: saved once
            raise ValueError(f"{begin_with} is not a judge of this size")
    return model


def tokenizer_of(
    folder: Path, recipe: JudgeRecipe, begin_with: Path | None = None
) -> Qwen2Tokenizer:
    emoji = any(stage.items[2] for stage in recipe.stages)
    make = functools.partial(judge_tokenizer, recipe.size.merges, emoji=emoji)
    tokenizer: Qwen2Tokenizer = of_run(folder, begin_with, make)
    return tokenizer


def main() -> None:
    args = arguments(__doc__ or "")
    recipe = JUDGES[args.recipe]
    if args.begin_with:
        recipe = recipe.continued()
    print(train(args.folder, args.applied_to(recipe), args.device, args.seed, args.begin_with))


if __name__ == "__main__":
    main()
