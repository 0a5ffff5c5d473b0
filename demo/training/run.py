"""What every training run does: rates, checkpoints that resume anywhere, a log in JSON lines."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from demo.training.recipe import Budget

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
_WARM_UP, _LEAST = 0.02, 0.02


@dataclass(slots=True)
class Progress:
    """Where a run is: the next step, the stage, its first step and the part of the budget that was
    used when it began, seconds trained so far.
    """

    step: int = 0
    stage: int = 0
    stage_began: int = 0
    stage_began_at: float = 0.0
    seconds: float = 0.0

    def share(self, budget: Budget) -> float:
        """How much of the budget is used, by steps or by time, whichever is further."""
        return min(1.0, max(self.step / budget.steps, self.seconds / 60 / budget.minutes))


@dataclass(slots=True)
class Run:
    """A model in training, in a folder that holds its checkpoint and its log."""

    folder: Path
    module: nn.Module
    optimizer: torch.optim.Optimizer
    budget: Budget
    seed: int
    progress: Progress = field(default_factory=Progress)
    stopping: bool = False

    @classmethod
    def start(cls, folder: Path, module: nn.Module, budget: Budget, seed: int) -> Run:
        """Begin in an empty folder, or go on where the folder's checkpoint is."""
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder, module, _optimizer(module, budget.rate), budget, seed)
        path = folder / CHECKPOINT
        if path.exists():
            run._load(path)
        return run

    def _load(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["seed"] != self.seed:
            raise ValueError(f"{path} was made with seed {state['seed']}, not {self.seed}")
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])

    def save(self) -> None:
        """Write the checkpoint aside and rename it: a kill at any moment leaves a whole one."""
        aside = self.folder / f".{CHECKPOINT}.new"
        state = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "seed": self.seed,
        }
        torch.save(state, aside)
        os.replace(aside, self.folder / CHECKPOINT)

    @property
    def done(self) -> bool:
        paused = 0 < self.budget.pause_at <= self.progress.step
        return self.stopping or paused or self.progress.share(self.budget) >= 1

    @property
    def stage_share(self) -> float:
        """What of the budget, by steps or by time, the present stage has used.

        Counted in steps alone, a run whose time ends first would never see its last stages.
        """
        return self.progress.share(self.budget) - self.progress.stage_began_at

    def descend(self, loss: torch.Tensor, began: float) -> None:
        """One step of the optimizer at the rate of this moment; `began` is its perf_counter."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.budget.rate * rate_at(self.progress.share(self.budget))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient of step {self.progress.step} is not finite")
        self.optimizer.step()
        self.progress.step += 1
        self.progress.seconds += time.perf_counter() - began

    def log(self, kind: str, values: Mapping[str, Any]) -> None:
        """Add a line to the log, and print it."""
        line = json.dumps({"kind": kind, **asdict(self.progress), **values})
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(line + "\n")
        print(line, flush=True)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the step under way, with a checkpoint."""

        def stop(_number: int, _frame: Any) -> None:
            self.stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def rate_at(share: float) -> float:
    """The learning rate as a part of the highest: a short rise, then half a cosine."""
    if share < _WARM_UP:
        return max(_LEAST, share / _WARM_UP)
    return _LEAST + (1 - _LEAST) * 0.5 * (1 + math.cos(math.pi * share))


def _optimizer(module: nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW; norms, biases and embeddings of positions are not decayed."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    rest = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
