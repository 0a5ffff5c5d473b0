"""Attention of a packed batch: in blocks of runs alike, or as one variable-length call.

Both record what is to be kept as a prefix, and compute of the last layer only the answering rows:
nothing else of it is ever read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.fine.attention import varlen
from worker.fine.prefix import Prefix
from worker.fine.tree import Node

_SLACK = 1.125
"""The longest run of a block over its shortest: beyond it padding costs more than another call."""


class Kernel(Protocol):
    """Attention of one packed batch."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """(N, H, d) of query (H, N, d), key and value (K, N, d), for a layer by its number.

        Layers come in their order, each once; of the last one only answering rows are computed.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Runs (b) with one context and nearly one length, padded to the longest (L).

    `rows` (b, L) are their rows in the batch, the last one again where a run is shorter; `real`
    (b, L) is False there, or None where all are as long. `ends` (b,) is each run's last place,
    `start` the first row where the runs lie one behind the other.
    """

    context: tuple[Node | Prefix, ...]
    rows: Tensor
    real: Tensor | None
    ends: Tensor
    start: int | None
    answers: bool


class BlockKernel:
    """Plain SDPA, a call for each block."""

    def __init__(
        self, nodes: Sequence[Node], answers: Sequence[Node], last: int, device: torch.device
    ) -> None:
        self._last = last
        self._records = [node for node in nodes if node.prefix is not None]
        answering = {id(node) for node in answers}
        self._blocks = [
            _block(run, id(run[0]) in answering, device) for run in _runs(nodes, answering)
        ]
        self._masks: dict[tuple[int, int], Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        record(self._records, key, value)
        final = layer == self._last
        size = (query.shape[1], query.shape[0], query.shape[2])
        output = query.new_zeros(size) if final else query.new_empty(size)  # (N, H, d)
        for block in self._blocks:
            if final and not block.answers:
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
        if seen - length < length // 2 or query.device.type != "cpu":
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


def record(nodes: Sequence[Node], key: Tensor, value: Tensor) -> None:
    """Keep a layer's keys and values (K, N, d) of the nodes that become prefixes."""
    for node in nodes:
        assert node.prefix is not None
        rows = slice(node.row, node.row + node.length)
        node.prefix.record(key[:, rows], value[:, rows])


def _runs(nodes: Sequence[Node], answering: set[int]) -> list[list[Node]]:
    """Nodes that share a context and are of nearly one length; `nodes` has siblings by length."""
    runs: list[list[Node]] = []
    for node in nodes:
        first = runs[-1][0] if runs else None
        if (
            first is not None
            and first.before is node.before
            and node.length <= first.length * _SLACK
            and (id(first) in answering) == (id(node) in answering)
        ):
            runs[-1].append(node)
        else:
            runs.append([node])
    return runs


def _block(run: Sequence[Node], answers: bool, device: torch.device) -> Block:
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
        (lengths - 1).to(device),
        run[0].row if adjacent else None,
        answers,
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
    """Only each run's last row, which sees the context and all of its run."""
    at = block.rows[torch.arange(len(block.rows), device=out.device), block.ends]  # (b,)
    mask = None
    if block.real is not None:
        context = block.real.new_ones((len(at), keys.shape[2] - block.real.shape[1]))
        mask = torch.cat([context, block.real], dim=1)[:, None, None]  # (b, 1, 1, C + L)
    rows = query[:, at].transpose(0, 1)[:, :, None]  # (b, H, 1, d)
    out[at] = _sdpa(rows, keys, values, mask, scale)[:, :, 0]


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


class VarlenKernel:
    """One variable-length flash attention call a layer for the whole batch."""

    def __init__(
        self, nodes: Sequence[Node], answers: Sequence[Node], last: int, device: torch.device
    ) -> None:
        self._last = last
        self._records = [node for node in nodes if node.prefix is not None]
        total = sum(node.length for node in nodes)
        self._stored: dict[Prefix, int] = {}  # each one's first row behind the packed rows
        for part in (part for node in nodes for part in node.context):
            if isinstance(part, Prefix) and part not in self._stored:
                self._stored[part] = total + sum(one.length for one in self._stored)
        self._all = self._runs(nodes, [node.length for node in nodes], device)
        self._ends = self._runs(answers, [1] * len(answers), device)
        self._answers = torch.tensor([one.row + one.length - 1 for one in answers]).to(device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        record(self._records, key, value)
        final = layer == self._last
        runs = self._ends if final else self._all
        keys = self._gather(key, [prefix.keys[layer] for prefix in self._stored], runs.seen)
        values = self._gather(value, [prefix.values[layer] for prefix in self._stored], runs.seen)
        rows = query.transpose(0, 1)  # (N, H, d)
        found = varlen(
            rows[self._answers] if final else rows,
            keys,
            values,
            runs.query_bounds,
            runs.key_bounds,
            runs.longest_query,
            runs.longest_key,
            scale,
            causal=not final,
        )
        return rows.new_zeros(rows.shape).index_put((self._answers,), found) if final else found

    def _runs(self, nodes: Sequence[Node], lengths: list[int], device: torch.device) -> Runs:
        seen = [self._rows_seen(node) for node in nodes]
        counts = [len(rows) for rows in seen]
        return Runs(
            torch.cat(seen).to(device),
            _bounds(lengths).to(device),
            _bounds(counts).to(device),
            max(lengths),
            max(counts),
        )

    def _rows_seen(self, node: Node) -> Tensor:
        parts = []
        for part in (*node.context, node):
            first = self._stored[part] if isinstance(part, Prefix) else part.row
            parts.append(torch.arange(first, first + part.length))
        return torch.cat(parts)

    @staticmethod
    def _gather(packed: Tensor, stored: Sequence[Tensor], rows: Tensor) -> Tensor:
        """Rows (Tk, K, d) that each run sees, of (K, N, d) and the stored parts behind it."""
        return torch.cat([packed, *stored], dim=1).transpose(0, 1)[rows]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Bounds of a variable-length call, and the rows of keys that each run sees."""

    seen: Tensor
    query_bounds: Tensor
    key_bounds: Tensor
    longest_query: int
    longest_key: int


def _bounds(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).int()
