"""Train the encoder: python -m demo.training.encoder FOLDER [--small] [--begin-with MODEL] …

FOLDER gets `checkpoint.pt` and `log.jsonl` while it runs, from which a later run goes on, and at
the end `model/`, a folder as Hugging Face lays it out.
"""

from __future__ import annotations

import functools
import json
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from demo.training.collate import MEAN, STD
from demo.training.command import arguments
from demo.training.encoder_batches import encoder_batch
from demo.training.encoder_model import Contrast, EncoderTrainer, build_encoder
from demo.training.feed import feed
from demo.training.recipe import ENCODERS, SIDE, EncoderRecipe
from demo.training.run import Run
from demo.training.vocabulary import encoder_tokenizer, of_run
from worker.coarse import FAMILIES
from worker.coarse_text import TextEncoder

IMAGES = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": SIDE},
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "resample": 3,
    "image_mean": MEAN,
    "image_std": STD,
}


def train(
    folder: Path,
    recipe: EncoderRecipe,
    device: torch.device,
    seed: int,
    begin_with: Path | None = None,
) -> Path:
    """Train to the end of the recipe's budget, or on from a checkpoint; returns the model's folder.

    `begin_with` is a trained model whose weights and tokenizer a new run begins with. The same
    seed gives the same batches at the same steps.
    """
    torch.manual_seed(seed)
    tokenizer = _tokenizer(folder, recipe, begin_with)
    trainer = EncoderTrainer(_model(recipe, tokenizer, begin_with)).to(device)
    run, budget = Run.start(folder, trainer, recipe.budget, seed), recipe.budget
    tokens = TextEncoder.of(tokenizer, FAMILIES["clip"][1], trainer.model.config.text_config)
    make = functools.partial(encoder_batch, tokens, recipe, seed)
    seen: list[Contrast] = []
    with run.stoppable():
        for _, made in feed(make, run.progress.step, budget.steps, budget.workers):
            if run.done:
                break
            began, batch = time.perf_counter(), made.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                contrast = trainer(batch)
            run.descend(contrast.loss, began)
            seen.append(contrast)
            if run.progress.step % budget.log_every == 0 or run.done:
                run.log("train", _read(seen))
                seen.clear()
            if run.progress.step % budget.save_every == 0:
                run.save()
    run.save()
    save_model(folder / "model", trainer, tokenizer)
    return folder / "model"


def save_model(folder: Path, trainer: EncoderTrainer, tokenizer: CLIPTokenizer) -> None:
    """Write the model with all that loading needs."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGES, indent=2) + "\n")


def _read(seen: list[Contrast]) -> dict[str, Mapping[str, float]]:
    """Means of the losses and of the hits, by what is contrasted."""
    losses: dict[str, list[float]] = defaultdict(list)
    hits: dict[str, list[float]] = defaultdict(list)
    for contrast in seen:
        for name, value in contrast.parts.items():
            losses[name].append(float(value))
            hits[name].append(float(contrast.hits[name]))
    return {
        "loss": {name: round(fmean(values), 4) for name, values in losses.items()},
        "accuracy": {name: round(fmean(values), 4) for name, values in hits.items()},
    }


def _model(recipe: EncoderRecipe, tokenizer: CLIPTokenizer, begin_with: Path | None) -> Any:
    model = build_encoder(recipe.size, tokenizer)
    if begin_with:
        model.load_state_dict(load_file(begin_with / "model.safetensors"))
    return model


def _tokenizer(folder: Path, recipe: EncoderRecipe, begin_with: Path | None) -> CLIPTokenizer:
    make = functools.partial(encoder_tokenizer, recipe.size.merges, emoji=recipe.emoji > 0)
    tokenizer: CLIPTokenizer = of_run(folder, begin_with, make)
    return tokenizer


def main() -> None:
    args = arguments(__doc__ or "")
    recipe = args.applied_to(ENCODERS[args.recipe])
    print(train(args.folder, recipe, args.device, args.seed, args.begin_with))


if __name__ == "__main__":
    main()
