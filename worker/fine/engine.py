"""Runs prompts on the device: plans batches, shares what they share, and reads their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from repick.specs import Positions, ScorerSpec
from worker.fine.enhancement import NEVER, Enhancer, Firing, enhanced
from worker.fine.families.base import Family, PreparedImage
from worker.fine.forward import answer_rows
from worker.fine.limits import MemoryLimits
from worker.fine.packing import pack
from worker.fine.plain import plain_rows
from worker.fine.plan import Batch, halving, plan
from worker.fine.prefix import Key, PrefixStore
from worker.fine.prompts import Prompt
from worker.fine.readout import Labels, Reading, read, vocabulary_logits
from worker.fine.tree import Tree
from worker.fine.vision import VisionStore

Prompts = Sequence[Prompt]
"""A pair's prompts, one a pass of its readout."""
Images = Sequence[PreparedImage]


class Engine:
    """One model's device work with what it keeps between batches; for one thread at a time."""

    def __init__(self, family: Family, weights_sha256: str, limits: MemoryLimits) -> None:
        self._family, self._batch_tokens = family, limits.batch_tokens
        self._device = family.decoder.head.device
        self._enhancer = Enhancer(family.decoder)
        self.prefixes = PrefixStore(limits.prefix_bytes)
        self.vision = VisionStore(
            family,
            weights_sha256,
            self._device,
            device_bytes=limits.vision_bytes,
            host_bytes=limits.host_bytes,
        )

    @property
    def batch_tokens(self) -> int:
        """The budget of a batch now: less than configured after the device ran out of memory."""
        return self._batch_tokens

    @property
    def dtype(self) -> torch.dtype:
        return self._family.decoder.head.dtype

    def plan(self, pairs: Sequence[Prompts]) -> list[Batch]:
        """Batches of pairs, given by their prompts, within the budget of tokens."""
        return plan(pairs, self._batch_tokens, self.prefixes.__contains__)

    @torch.inference_mode()
    def read(
        self,
        pairs: Sequence[Prompts],
        images: Sequence[Images],
        labels: Sequence[Labels],
        spec: ScorerSpec,
    ) -> list[list[Reading]]:
        """A reading for each pair and pass; halves a batch that the device's memory cannot hold.

        Enhancement at all positions changes what a prefix leaves behind: it takes the plain path.
        """
        everywhere = spec.enhancement and spec.enhancement.positions is Positions.ALL
        one = self._plain_batch if everywhere else self._packed_batch
        readings: dict[int, list[Reading]] = {}
        for batch in self.plan(pairs):
            run = partial(one, pairs, images, labels, spec, batch.shared)
            with self._budget_kept():
                found = halving(run, batch.pairs, self._relieve)
            readings |= zip(batch.pairs, found, strict=True)
        return [readings[no] for no in range(len(pairs))]

    @contextmanager
    def _budget_kept(self) -> Iterator[None]:
        """On an error of the device: a pair too large by itself says nothing about others'."""
        before = self._batch_tokens
        try:
            yield
        except RuntimeError:
            self._batch_tokens = before
            raise

    @torch.inference_mode()
    def read_plain(
        self,
        pairs: Sequence[Prompts],
        images: Sequence[Images],
        labels: Sequence[Labels],
        spec: ScorerSpec,
    ) -> list[list[Reading]]:
        """As `read`, as one padded batch of the library's own forward pass for each question."""
        return self._plain_batch(pairs, images, labels, spec, frozenset(), range(len(pairs)))

    def forget(self) -> None:
        """Drop all that is kept between batches: the next ones start cold."""
        self.prefixes.clear()
        self.vision.clear()

    def memory(self) -> Mapping[str, int]:
        """Bytes kept, and on CUDA what the process has allocated, now and at most."""
        near, host = self.vision.nbytes
        kept = {"vision": near, "vision_host": host, "prefixes": self.prefixes.nbytes}
        if self._device.type != "cuda":
            return kept
        return kept | {
            "allocated": torch.cuda.memory_allocated(self._device),
            "allocated_peak": torch.cuda.max_memory_allocated(self._device),
        }

    def _relieve(self) -> None:
        """Give the device's memory back, and plan smaller batches from now on."""
        self._batch_tokens = max(1, self._batch_tokens // 2)
        self.forget()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()

    def _packed_batch(
        self,
        pairs: Sequence[Prompts],
        images: Sequence[Images],
        labels: Sequence[Labels],
        spec: ScorerSpec,
        shared: frozenset[Key],
        batch: Sequence[int],
    ) -> list[list[Reading]]:
        tree = Tree(self._family, self.prefixes, shared)
        for no in batch:
            tree.add(pairs[no])
        visual = self.vision.tokens(chain.from_iterable(images[no] for no in batch), spec.images)
        packed = pack(tree, self._device)
        at = (torch.zeros_like(packed.answers), packed.answers)
        seen = [
            [visual[image].tokens for image in prompt.images]
            for no in batch
            for prompt in pairs[no]
        ]
        with enhanced(self._enhancer, spec.enhancement, at, seen, trimmed=True) as firing:
            rows = answer_rows(self._family, packed, visual)  # (pairs · passes, D)
        for key, prefix in tree.kept():
            self.prefixes.put(key, prefix)
        passes = len(labels)
        columns = [
            self._readings(rows[no::passes], one, _layers(firing, no, passes))
            for no, one in enumerate(labels)
        ]
        return [list(readings) for readings in zip(*columns, strict=True)]

    def _plain_batch(
        self,
        pairs: Sequence[Prompts],
        images: Sequence[Images],
        labels: Sequence[Labels],
        spec: ScorerSpec,
        _shared: frozenset[Key],
        batch: Sequence[int],
    ) -> list[list[Reading]]:
        visual = self.vision.tokens(chain.from_iterable(images[no] for no in batch), spec.images)
        columns = []
        for no, one in enumerate(labels):
            prompts = [pairs[pair][no] for pair in batch]
            rows, firing = plain_rows(
                self._family, self._enhancer, prompts, visual, spec.enhancement
            )
            columns.append(self._readings(rows, one, _layers(firing, 0, 1)))
        return [list(readings) for readings in zip(*columns, strict=True)]

    def _readings(self, rows: Tensor, labels: Labels, layers: Tensor | None) -> list[Reading]:
        """Read hidden states (B, D) of one pass."""
        values = read(vocabulary_logits(rows, self._family.decoder.head), labels).tolist()
        fired = [NEVER] * len(values) if layers is None else layers.tolist()
        return [Reading.of(row, layer) for row, layer in zip(values, fired, strict=True)]


def _layers(firing: Firing | None, first: int, step: int) -> Tensor | None:
    return None if firing is None else firing.layer[first::step]
