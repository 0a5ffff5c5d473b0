"""Go on with more layers: python -m demo.training.grow OLD NEW --small [--after N] [--stage N].

A run's checkpoint becomes the start of another run whose recipe has more decoder layers. The new
layers are put in after layer N and add nothing at first (their output projections are zero), so
the model answers as it did; heads that the old run did not have start as they are drawn.
"""

from __future__ import annotations

import argparse
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo.training.judge import tokenizer_of
from demo.training.judge_model import JudgeTrainer, build_judge
from demo.training.recipe import JUDGES, JudgeRecipe
from demo.training.run import CHECKPOINT, Progress, Run

_LAYER = re.compile(r"(language_model\.layers\.)(\d+)(\..+)")
_OUTPUTS = ("o_proj.weight", "down_proj.weight")


def grow(old: Path, new: Path, recipe: JudgeRecipe, after: int, stage: int, seed: int) -> None:
    """Write the new run's first checkpoint, at step 0 of that stage of the recipe."""
    new.mkdir(parents=True)
    shutil.copytree(old / "tokenizer", new / "tokenizer")
    torch.manual_seed(seed)
    trainer = JudgeTrainer(build_judge(recipe.size, tokenizer_of(new, recipe)))
    state: dict[str, Any] = torch.load(old / CHECKPOINT, map_location="cpu", weights_only=True)
    trainer.load_state_dict(widened(state["module"], trainer.state_dict(), after))
    run = Run.start(new, trainer, recipe.budget, seed)
    run.progress = Progress(stage=stage)
    run.save()
    run.log("grown", {"from": asdict(Progress(**state["progress"])), "after": after})


def widened(old: dict[str, Tensor], fresh: dict[str, Tensor], after: int) -> dict[str, Tensor]:
    """`fresh` with the old values, old layers beyond `after` moved to the end.

    Raises KeyError where the old state has something for which there is no place.
    """
    added = _layers(fresh) - _layers(old)

    def moved(match: re.Match[str]) -> str:
        number = int(match[2])
        return f"{match[1]}{number if number <= after else number + added}{match[3]}"

    made = dict(fresh)
    for name, value in old.items():
        made[_LAYER.sub(moved, name)] = value
    for name, value in fresh.items():
        layer = _LAYER.search(name)
        if layer and after < int(layer[2]) <= after + added and name.endswith(_OUTPUTS):
            made[name] = torch.zeros_like(value)
    if len(made) != len(fresh):
        raise KeyError(f"the old run has {sorted(set(made) - set(fresh))}, which the new has not")
    return made


def _layers(state: dict[str, Tensor]) -> int:
    return 1 + max(int(found[2]) for name in state if (found := _LAYER.search(name)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--small", action="store_const", const="small", default="full")
    parser.add_argument("--after", type=int, default=4)
    parser.add_argument("--stage", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    grow(args.old, args.new, JUDGES[args.small], args.after, args.stage, args.seed)


if __name__ == "__main__":
    main()
