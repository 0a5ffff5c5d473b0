"""The ways to score the same pairs: the released algorithm's, a naive batch, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.fine_shapes import IDS
from benchmarks.fine_workloads import Workload
from repick.specs import Enhancement, Readout, ScorerSpec
from worker.fine.engine import Engine
from worker.fine.enhancement import top_entropy
from worker.fine.families.base import PreparedImage
from worker.fine.families.qwen import use_ours, use_the_librarys
from worker.fine.prompts import Prompt
from worker.fine.readout import Labels

LABELS = Labels(("A", "B"), ((32, 362), (33, 425)))
FIRST_TOKENS = Labels(("A", "B"), ((32,), (33,)))
"""What the CrossEncoder's head reads: a token a label, where ours sums up to several."""
SPEC = ScorerSpec("benchmark", "random", "0", "0", Readout.CHOICE, enhancement=None)
ENHANCED = replace(SPEC, enhancement=Enhancement())


@contextmanager
def library_attention(model: Any) -> Iterator[None]:
    """The same weights in the library's own modules, for what is not ours."""
    use_the_librarys(model)
    try:
        yield
    finally:
        use_ours(model)


def features(
    prompts: Sequence[Prompt],
    images: Sequence[Sequence[PreparedImage]],
    device: torch.device,
    *,
    left: bool = False,
) -> dict[str, Tensor]:
    """What the family's processor would give: ids padded at one end, mask, all images' pixels."""
    width = max(prompt.length for prompt in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for no, prompt in enumerate(prompts):
        start = width - prompt.length if left else 0
        there = slice(start, start + prompt.length)
        ids[no, there] = torch.tensor(prompt.token_ids(IDS["image"]))
        mask[no, there] = 1
    made = {"input_ids": ids, "attention_mask": mask}
    by_key = {image.segment: image for one in images for image in one}
    shown = [by_key[segment] for prompt in prompts for segment in prompt.images]
    if shown:
        made["pixel_values"] = torch.cat([image.pixels for image in shown])
        made["image_grid_thw"] = torch.tensor([image.segment.grid for image in shown])
        made["mm_token_type_ids"] = (ids == IDS["image"]).int()
    return {name: value.to(device) for name, value in made.items()}


def _margin(logits: Tensor) -> Tensor:
    values = logits.float()
    yes, no = (values[..., list(ids)].logsumexp(-1) for ids in LABELS.ids)
    return yes - no


@torch.inference_mode()
def naive(model: Any, device: torch.device, load: Workload, batch: int) -> list[float]:
    """The library's forward pass in batches, padded within each; the head as it comes."""
    margins: list[float] = []
    for start in range(0, len(load), batch):
        prompts = load.prompts[start : start + batch]
        inputs = features(prompts, load.images[start : start + batch], device)
        logits = model(**inputs, use_cache=False).logits
        last = inputs["attention_mask"].sum(1) - 1
        rows = logits[torch.arange(len(prompts), device=device), last]
        margins += _margin(rows).tolist()
    return margins


@torch.inference_mode()
def released(model: Any, device: torch.device, load: Workload) -> list[float]:
    """What the released algorithm computes for each pair, one pair at a time.

    Both images go through the tower again, the vocabulary head runs on every position of every
    layer, and each layer's entropy is waited for (METHOD §3). Injection, which costs little, is
    left out, so that its margins are those of the others.
    """
    head = model.get_output_embeddings()

    def trigger(_module: Any, _args: Any, hidden: Tensor) -> None:
        float(top_entropy(head(hidden)[:, -1].float()))

    hooks = [layer.register_forward_hook(trigger) for layer in model.model.language_model.layers]
    try:
        return [margin for no in range(len(load)) for margin in _one(model, device, load, no)]
    finally:
        for hook in hooks:
            hook.remove()


def _one(model: Any, device: torch.device, load: Workload, no: int) -> list[float]:
    inputs = features(load.prompts[no : no + 1], load.images[no : no + 1], device)
    return _margin(model(**inputs, use_cache=False).logits[:, -1]).tolist()


def ours(
    engine: Engine, load: Workload, spec: ScorerSpec = SPEC, labels: Labels = LABELS
) -> list[float]:
    readings = engine.read([(one,) for one in load.prompts], load.images, [labels], spec)
    return [one.label_logits[0] - one.label_logits[1] for (one,) in readings]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to score: `prepare` is not timed, `run` is."""

    name: str
    run: Callable[[Workload], list[float]]
    prepare: Callable[[Workload], None]
    pairs: int | None = None
    """How many pairs of a workload it is measured on, where it takes its time; None for all."""


def cold(engine: Engine, load: Workload) -> None:
    engine.forget()


def warm(engine: Engine, load: Workload) -> None:
    """The images' visual tokens at hand, no prefix."""
    with torch.inference_mode():
        engine.vision.tokens((image for one in load.images for image in one), SPEC.images)
    engine.prefixes.clear()
