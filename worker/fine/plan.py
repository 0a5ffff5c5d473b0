"""Which pairs are computed together: groups that share a prefix, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from worker.fine.prefix import Key
from worker.fine.prompts import Prompt
from worker.fine.tree import root_of

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Batch:
    """Numbers of pairs to compute in one forward pass; prefixes in `shared` are worth keeping."""

    pairs: tuple[int, ...]
    shared: frozenset[Key]


def own_length(prompts: Sequence[Prompt]) -> int:
    """Tokens of a pair behind what its neighbours share, all passes."""
    seconds = sum(segment.length for segment in prompts[0].second)
    return seconds + sum(part.length for one in prompts for part in one.question)


def shared_length(prompt: Prompt) -> int:
    """Tokens that a pair shares with the pairs of its group, less those that all share."""
    root = sum(segment.length for segment in root_of(prompt))
    return sum(segment.length for segment in prompt.first) - root


def plan(
    pairs: Sequence[Sequence[Prompt]], budget: int, at_hand: Callable[[Key], bool]
) -> list[Batch]:
    """Batches of about `budget` tokens; pairs are given by their prompts, one a pass.

    Pairs with one front part come together, shorter ones first; a group that runs over is cut,
    and its next batch finds the prefix kept. A pair longer than the budget is a batch by itself.
    """
    groups: dict[Key, list[int]] = {}
    for no, prompts in enumerate(pairs):
        groups.setdefault(prompts[0].first, []).append(no)
    shared = frozenset(key for key, group in groups.items() if len(group) > 1)
    batches: list[Batch] = []
    batch: list[int] = []
    room = budget
    for key, group in groups.items():
        front = 0 if at_hand(key) else shared_length(pairs[group[0]][0])
        for no in sorted(group, key=lambda no: own_length(pairs[no])):
            tokens = own_length(pairs[no]) + front
            if batch and tokens > room:
                batches.append(Batch(tuple(batch), shared))
                batch, room = [], budget
            batch.append(no)
            room -= tokens
            front = 0 if key in shared else front
    if batch:
        batches.append(Batch(tuple(batch), shared))
    return batches


def halving(
    run: Callable[[Sequence[T]], list[R]], batch: Sequence[T], relieve: Callable[[], None]
) -> list[R]:
    """`run(batch)`; where the device's memory does not hold it, of its halves, and so on.

    After each failure `relieve` may give memory back. Raises what the device raised where one by
    itself is too much even then.
    """
    try:
        return run(batch)
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        # Left before the next try: the error holds on to the failed batch's tensors.
    relieve()
    if len(batch) == 1:
        return run(batch)
    middle = len(batch) // 2
    return [*halving(run, batch[:middle], relieve), *halving(run, batch[middle:], relieve)]


def is_out_of_memory(exc: RuntimeError) -> bool:
    """CUDA has a class for it; MPS, the CPU and some of CUDA's own calls say so in words."""
    words = ("out of memory", "can't allocate memory")
    return isinstance(exc, torch.OutOfMemoryError) or any(part in str(exc) for part in words)
