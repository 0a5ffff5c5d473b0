"""The command line that both training scripts share."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from demo.training.recipe import EncoderRecipe, JudgeRecipe

Recipe = TypeVar("Recipe", JudgeRecipe, EncoderRecipe)


@dataclass(frozen=True, slots=True)
class Arguments:
    """Where, by which recipe, on which device, and what of its budget is set otherwise."""

    folder: Path
    recipe: str
    device: torch.device
    seed: int
    begin_with: Path | None
    changes: dict[str, int | float]

    def applied_to(self, recipe: Recipe) -> Recipe:
        """The recipe with the budget that was asked for."""
        return replace(recipe, budget=replace(recipe.budget, **self.changes))  # type: ignore[arg-type]


def arguments(description: str) -> Arguments:
    """Read from sys.argv; `full` is the recipe unless --small or --smoke is given."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("folder", type=Path)
    group = parser.add_mutually_exclusive_group()
    for name, text in (("small", "for two cores"), ("smoke", "a few steps of a toy")):
        group.add_argument(f"--{name}", action="store_const", const=name, dest="recipe", help=text)
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="instead of the recipe's")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--pause-at", type=int, help="stop for now at this step")
    parser.add_argument("--images", type=int, help="pictures a step, instead of the recipe's")
    parser.add_argument("--workers", type=int, help="processes that make batches")
    parser.add_argument("--begin-with", type=Path, help="a trained model that the run begins with")
    args = parser.parse_args()
    names = ("minutes", "steps", "pause_at", "images", "workers")
    changes = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return Arguments(
        args.folder, args.recipe or "full", args.device, args.seed, args.begin_with, changes
    )
