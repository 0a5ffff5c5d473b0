"""Visual enhancement: where the answer is uncertain, mix the image in again (METHOD §3).

At the last position of each pair, the entropy of the ten likeliest tokens is read after each
layer of a window; the first layer where it exceeds γ fires, and the next layer's feed-forward
network is mixed with an attention over the pair's own visual tokens. All of it is masks a sample
on the device: nothing waits for a value, and no sample sees another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from repick.errors import ModelError
from repick.specs import Enhancement, Positions
from worker.fine.families.base import Decoder, GatedFFN
from worker.fine.readout import vocabulary_logits

TOP = 10
"""Entropy is over so many likeliest tokens, and normalised by its logarithm."""
NEVER = -1
_LEAST = 1e-12
"""Divisors are at least this: a pair without an image divides zero by it, which is discarded."""


def window(layers: int) -> tuple[int, ...]:
    """Layers ℓ that may fire: 5/28 < ℓ/L < 16/28 and ℓ+1 < L (METHOD §3)."""
    return tuple(no for no in range(layers - 1) if 5 * layers < 28 * no < 16 * layers)


def top_entropy(logits: Tensor) -> Tensor:
    """Entropy (B,) of the TOP largest logits of (B, V), normalised to 0..1."""
    top = logits.topk(min(TOP, logits.shape[-1]), dim=-1).values
    entropy: Tensor = torch.special.entr(top.softmax(-1)).sum(-1)
    return entropy / math.log(TOP)


def inject(
    ffn: GatedFFN, gate_mean: Tensor, alpha: float, x: Tensor, out: Tensor, memory: Memory
) -> Tensor:
    """(1−α)·FFN(x) + α·A·|FFN(x)|/|A| for x and FFN(x) of (B, T, D), in float32.

    A = φ(x Kᵀ) Z with K = Z·|W_gate|/|Z|; |·| is the mean absolute value, of A and FFN(x) at each
    position by itself, so that no pair depends on its neighbours.
    """
    scale = (gate_mean / memory.mean)[:, None, None]
    weights = ffn.activation((x.float() * scale) @ memory.tokens.T) * memory.counts[:, None]
    found = weights @ memory.tokens  # (B, T, D)
    plain = out.float()
    size = found.abs().mean(-1, keepdim=True).clamp(min=_LEAST)
    rescaled = found * (plain.abs().mean(-1, keepdim=True) / size)
    return ((1 - alpha) * plain + alpha * rescaled).to(out.dtype)


@dataclass(frozen=True, slots=True)
class Memory:
    """The visual tokens Z of a batch: `tokens` (M, D) of its distinct images, in float32.

    `counts` (B, M) says how often each row belongs to each pair (twice where a pair shows one
    image twice), `mean` (B,) is the mean absolute value over a pair's own rows, `present` (B,)
    whether it has any. One product with all rows and a mask costs less than padding copies of
    them for every pair: pairs share images.
    """

    tokens: Tensor
    counts: Tensor
    mean: Tensor
    present: Tensor

    @classmethod
    def of(cls, visual: Sequence[Sequence[Tensor]], like: Tensor) -> Memory:
        """From the visual tokens (n, D) of each pair's images; `like` gives device and D."""
        distinct = {id(part): part for parts in visual for part in parts}
        place = {key: no for no, key in enumerate(distinct)}
        shows = torch.zeros(len(visual), len(distinct))
        for row, parts in zip(shows, visual, strict=True):
            for part in parts:
                row[place[id(part)]] += 1
        lengths = torch.tensor([len(part) for part in distinct.values()], dtype=torch.long)
        counts = shows.repeat_interleave(lengths, dim=1).to(like.device)
        none = like.new_zeros((0, like.shape[-1]))
        tokens = torch.cat([none, *distinct.values()]).float()
        sums = counts @ tokens.abs().sum(1)
        rows = counts.sum(1)
        mean = sums / (rows.clamp(min=1) * like.shape[-1])
        return cls(tokens, counts, mean.clamp(min=_LEAST), rows > 0)

    def pair(self, no: int, parts: Sequence[Tensor]) -> Memory:
        """The memory of one pair by itself, which shows `parts`."""
        tokens = torch.cat([self.tokens[:0], *parts]).float()
        counts = tokens.new_ones((1, len(tokens)))
        return Memory(tokens, counts, self.mean[no : no + 1], self.present[no : no + 1])


@dataclass(slots=True, eq=False)
class Firing:
    """One forward pass of a batch: which pairs fire now, and `layer` (B,), NEVER until they do.

    `at` are two index tensors (B,) of the answering positions in a hidden state; `trimmed` says
    that the last layer's feed-forward network sees these alone, as (1, B, D).
    """

    at: tuple[Tensor, Tensor]
    trimmed: bool
    visual: Sequence[Sequence[Tensor]]
    memory: Memory
    layer: Tensor
    now: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.now = torch.zeros_like(self.memory.present)


_ACTIVE: ContextVar[Firing | None] = ContextVar("repick_firing", default=None)


class Enhancer:
    """Installs enhancement on a decoder for one forward pass at a time.

    Hooks act only for the pass that installed them: another thread, or a pass within a pass,
    does not see them.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._window = window(len(decoder.layers))
        if not self._window:
            raise ModelError(f"{len(decoder.layers)} layers are too few for visual enhancement")
        self._gate_means = {
            no + 1: decoder.ffns[no + 1].gate_weight.detach().abs().mean(dtype=torch.float32)
            for no in self._window
        }

    @contextmanager
    def installed(
        self,
        setting: Enhancement,
        at: tuple[Tensor, Tensor],
        visual: Sequence[Sequence[Tensor]],
        *,
        trimmed: bool = False,
    ) -> Iterator[Firing]:
        """Enhance the forward pass made inside; no hook stays behind.

        `at` are the two indices (B,) of each pair's last position in the hidden states (rows,
        columns, D), `visual` the visual tokens of its images, `trimmed` whether the last layer
        computes these positions only. The firing's `layer` is complete when the pass is.
        """
        memory = Memory.of(visual, self._decoder.head)
        firing = Firing(at, trimmed, visual, memory, torch.full_like(at[1], NEVER))
        with ExitStack() as stack:
            for no in self._window:
                self._install(stack, setting, firing, no)
            token = _ACTIVE.set(firing)
            try:
                yield firing
            finally:
                _ACTIVE.reset(token)

    def _install(self, stack: ExitStack, setting: Enhancement, firing: Firing, layer: int) -> None:
        def probe(_module: nn.Module, args: tuple[Tensor]) -> None:
            if _ACTIVE.get() is firing:
                self._probe(setting, firing, layer, args[0])

        def mix(_module: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
            if _ACTIVE.get() is not firing:
                return output
            return self._mix(setting, firing, layer + 1, args[0], output)

        decoder = self._decoder
        for handle in (
            decoder.entries[layer + 1].register_forward_pre_hook(probe),
            decoder.ffns[layer + 1].module.register_forward_hook(mix),
        ):
            stack.callback(handle.remove)

    def _probe(self, setting: Enhancement, firing: Firing, layer: int, hidden: Tensor) -> None:
        rows = hidden[firing.at]  # (B, D) of (rows, columns, D)
        if setting.final_norm:
            rows = self._decoder.final_norm(rows)
        entropy = top_entropy(vocabulary_logits(rows, self._decoder.head))
        fresh = (firing.layer == NEVER) & firing.memory.present
        firing.now = fresh & (entropy > setting.gamma)
        firing.layer = torch.where(firing.now, layer, firing.layer)

    def _mix(
        self, setting: Enhancement, firing: Firing, layer: int, x: Tensor, out: Tensor
    ) -> Tensor:
        ffn, gate_mean = self._decoder.ffns[layer], self._gate_means[layer]
        if setting.positions is Positions.ALL:
            return self._mix_all(setting, firing, layer, x, out)
        at = firing.at
        if firing.trimmed and layer == len(self._decoder.layers) - 1:
            at = (torch.zeros_like(at[1]), torch.arange(len(at[1]), device=x.device))
        plain = out[at][:, None]  # (B, 1, D)
        mixed = inject(ffn, gate_mean, setting.alpha, x[at][:, None], plain, firing.memory)
        mixed = torch.where(firing.now[:, None, None], mixed, plain)
        return out.index_put(at, mixed[:, 0])

    def _mix_all(
        self, setting: Enhancement, firing: Firing, layer: int, x: Tensor, out: Tensor
    ) -> Tensor:
        """Every position of each pair of (B, T, D), a pair at a time: all with all is too much."""
        ffn, gate_mean = self._decoder.ffns[layer], self._gate_means[layer]
        mixed = [
            inject(ffn, gate_mean, setting.alpha, x[no, None], out[no, None], memory)
            for no, parts in enumerate(firing.visual)
            for memory in [firing.memory.pair(no, parts)]
        ]
        return torch.where(firing.now[:, None, None], torch.cat(mixed), out)


@contextmanager
def enhanced(
    enhancer: Enhancer,
    setting: Enhancement | None,
    at: tuple[Tensor, Tensor],
    visual: Sequence[Sequence[Tensor]],
    *,
    trimmed: bool = False,
) -> Iterator[Firing | None]:
    """`Enhancer.installed`, or nothing where it is off or no pair has an image."""
    if setting is None or not any(visual):
        yield None
        return
    with enhancer.installed(setting, at, visual, trimmed=trimmed) as firing:
        yield firing
