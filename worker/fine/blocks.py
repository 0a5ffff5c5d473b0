"""Attention of a packed batch by plain SDPA: a call for each block of runs alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.fine.kernels import record
from worker.fine.prefix import Prefix
from worker.fine.tree import Node

ROWS = 64
"""Rows of a run that are attended to at once on the CPU: what they must not see is not computed,
where the library's causal kernel computes nearly all of it for runs of some hundred tokens."""
_SLACK = 1.125
"""The longest run of a block over its shortest: beyond it padding costs more than another call."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Runs (b) with one context and nearly one length, padded to the longest (L).

    `rows` (b, L) are their rows in the batch, the last one again where a run is shorter; `real`
    (b, L) is False there, or None where all are as long. `start` is the first row where the runs
    lie one behind the other; `answers` (b,) numbers those that answer among all answers.
    """

    context: tuple[Node | Prefix, ...]
    rows: Tensor
    real: Tensor | None
    start: int | None
    answers: Tensor | None


class BlockKernel:
    """Plain SDPA, a call for each block."""

    def __init__(
        self, nodes: Sequence[Node], answers: Sequence[Node], last: int, device: torch.device
    ) -> None:
        self._last = last
        self._records = [node for node in nodes if node.prefix is not None]
        asking = {id(node): no for no, node in enumerate(answers)}
        self._blocks = [_block(run, asking, device) for run in _runs(nodes, asking)]
        self._masks: dict[tuple[int, int], Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        record(self._records, key, value)
        final = layer == self._last
        output = query.new_empty((query.shape[1], query.shape[0], query.shape[2]))  # (N, H, d)
        for block in self._blocks:
            if final and block.answers is None:
                continue
            keys = _with_context(block, key, [p.keys for p in _prefixes(block)], layer)
            values = _with_context(block, value, [p.values for p in _prefixes(block)], layer)
            if final:
                _attend_ends(block, query, keys, values, scale, output)
            else:
                self._attend(block, query, keys, values, scale, output)
        return output

    def _attend(
        self, block: Block, query: Tensor, keys: Tensor, values: Tensor, scale: float, out: Tensor
    ) -> None:
        """Each row of the runs sees the whole context and its own run up to itself."""
        length, seen = block.rows.shape[1], keys.shape[2]
        found = _take(block, query)
        if query.device.type == "cpu" and query.dtype is torch.float32 and length > ROWS:
            found = by_rows(found, keys, values, scale)
        elif seen - length < length // 2 or query.device.type != "cpu":
            found = _causal(found, keys, values, scale)
        else:
            found = _sdpa(found, keys, values, self._mask(length, seen, query), scale)
        found = found.transpose(1, 2)  # (b, L, H, d)
        if block.start is not None:
            out[block.start : block.start + block.rows.numel()] = found.flatten(0, 1)
        elif block.real is None:
            out[block.rows] = found
        else:
            out[block.rows[block.real]] = found[block.real]

    def _mask(self, length: int, seen: int, like: Tensor) -> Tensor:
        """(L, C + L), zero where row i may look, which is up to place C + i."""
        if (length, seen) not in self._masks:
            blocked = like.new_full((length, seen), float("-inf"))
            self._masks[length, seen] = blocked.triu(seen - length + 1)
        return self._masks[length, seen]


def _runs(nodes: Sequence[Node], asking: Mapping[int, int]) -> list[list[Node]]:
    """Nodes that share a context and are of nearly one length; `nodes` has siblings by length."""
    runs: list[list[Node]] = []
    for node in nodes:
        first = runs[-1][0] if runs else None
        if (
            first is not None
            and first.before is node.before
            and node.length <= first.length * _SLACK
            and (id(first) in asking) == (id(node) in asking)
        ):
            runs[-1].append(node)
        else:
            runs.append([node])
    return runs


def _block(run: Sequence[Node], asking: Mapping[int, int], device: torch.device) -> Block:
    lengths = torch.tensor([node.length for node in run])
    steps = torch.arange(int(lengths.max()))
    real = steps < lengths[:, None]
    rows = torch.tensor([node.row for node in run])[:, None] + steps.minimum(lengths[:, None] - 1)
    equal = bool(real.all())
    adjacent = equal and bool((rows.flatten().diff() == 1).all())
    return Block(
        run[0].context,
        rows.to(device),
        None if equal else real.to(device),
        run[0].row if adjacent else None,
        torch.tensor([asking[id(node)] for node in run]).to(device)
        if id(run[0]) in asking
        else None,
    )


def _prefixes(block: Block) -> list[Prefix]:
    return [part for part in block.context if isinstance(part, Prefix)]


def _take(block: Block, packed: Tensor) -> Tensor:
    """The block's rows of (H, N, d) as (b, H, L, d)."""
    if block.start is None:
        return packed[:, block.rows].transpose(0, 1)
    rows = packed[:, block.start : block.start + block.rows.numel()]
    return rows.view(len(rows), *block.rows.shape, -1).transpose(0, 1)


def _with_context(
    block: Block, packed: Tensor, kept: Sequence[Sequence[Tensor]], layer: int
) -> Tensor:
    """Keys or values (b, K, C + L, d): the context, the same for all, and each run's own."""
    stored = iter(kept)
    parts = [
        next(stored)[layer]
        if isinstance(part, Prefix)
        else packed[:, part.row : part.row + part.length]
        for part in block.context
    ]
    own = _take(block, packed)
    if not parts:
        return own
    return torch.cat([*(part.expand(len(own), -1, -1, -1) for part in parts), own], dim=2)


def _attend_ends(
    block: Block, query: Tensor, keys: Tensor, values: Tensor, scale: float, out: Tensor
) -> None:
    """Each run's last row, which sees the context and all of its run; query (H, R, d)."""
    mask = None
    if block.real is not None:
        context = block.real.new_ones((len(keys), keys.shape[2] - block.real.shape[1]))
        mask = torch.cat([context, block.real], dim=1)[:, None, None]  # (b, 1, 1, C + L)
    rows = query[:, block.answers].transpose(0, 1)[:, :, None]  # (b, H, 1, d)
    out[block.answers] = _sdpa(rows, keys, values, mask, scale)[:, :, 0]


def by_rows(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Rows (b, H, L, d) behind a context, some at a time, each up to what its last one sees.

    Heads that share a key are rows of one product. In float32, as the scores are rounded to it.
    """
    b, heads, length, width = query.shape
    groups, context = heads // keys.shape[1], keys.shape[2] - length
    asking = query.reshape(-1, groups, length, width)
    nothing = query.new_zeros(1, 1, 1)
    output = torch.empty_like(asking)
    keys, values = keys.flatten(0, 1).transpose(1, 2), values.flatten(0, 1)  # (b·K, d, S), …
    for start in range(0, length, ROWS):
        end = min(length, start + ROWS)
        rows, seen = asking[:, :, start:end], context + end
        scores = torch.baddbmm(  # (b·K, G·rows, seen)
            nothing, rows.flatten(1, 2), keys[:, :, :seen], beta=0, alpha=scale
        )
        later = scores.new_full((end - start, end - start), float("-inf")).triu_(1)
        scores.view(len(scores), groups, end - start, seen)[..., seen - (end - start) :] += later
        found = torch.bmm(scores.softmax(-1), values[:, :seen])
        output[:, :, start:end] = found.view(rows.shape)
    return output.view(b, heads, length, width)


def _causal(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Rows behind a context, as causal attention with empty rows in the context's place.

    Without a mask, kernels skip what is masked, and more of them can be used.
    """
    context = keys.shape[2] - query.shape[2]
    if context:
        query = F.pad(query, (0, 0, context, 0))
    return _sdpa(query, keys, values, None, scale, causal=True)[:, :, context:]


def _sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    *,
    causal: bool = False,
) -> Tensor:
    """Grouped heads as they are on the CPU; elsewhere repeated, or no fast kernel takes a mask."""
    if query.device.type != "cpu":
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=causal,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
