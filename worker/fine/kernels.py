"""Attention of a packed batch: what all kernels do, and the one that is one call a layer.

A kernel records what is to be kept as a prefix, and computes of the last layer only the answering
rows: nothing else of it is ever read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from worker.fine.prefix import Prefix
from worker.fine.tree import Node
from worker.fine.varlen import varlen


class Kernel(Protocol):
    """Attention of one packed batch."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """(N, H, d) of query (H, N, d), key and value (K, N, d), for a layer by its number.

        Layers come in their order, each once; of the last one the query has the answering rows
        only, (H, R, d), and so has the output.
        """
        ...


def record(nodes: Sequence[Node], key: Tensor, value: Tensor) -> None:
    """Keep a layer's keys and values (K, N, d) of the nodes that become prefixes."""
    for node in nodes:
        assert node.prefix is not None
        rows = slice(node.row, node.row + node.length)
        node.prefix.record(key[:, rows], value[:, rows])


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Bounds of a variable-length call, and the rows of keys that each run sees."""

    seen: Tensor
    query_bounds: Tensor
    key_bounds: Tensor
    longest_query: int
    longest_key: int


class VarlenKernel:
    """One variable-length flash attention call a layer for the whole batch."""

    def __init__(
        self,
        nodes: Sequence[Node],
        answers: Sequence[Node],
        last: int,
        device: torch.device,
        call: Callable[..., Tensor] = varlen,
    ) -> None:
        self._last, self._call = last, call
        self._records = [node for node in nodes if node.prefix is not None]
        total = sum(node.length for node in nodes)
        self._stored: dict[Prefix, int] = {}  # each one's first row behind the packed rows
        for part in (part for node in nodes for part in node.context):
            if isinstance(part, Prefix) and part not in self._stored:
                self._stored[part] = total + sum(one.length for one in self._stored)
        self._all = self._runs(nodes, [node.length for node in nodes], device)
        self._ends = self._runs(answers, [1] * len(answers), device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        record(self._records, key, value)
        final = layer == self._last
        runs = self._ends if final else self._all
        keys = self._gather(key, [prefix.keys[layer] for prefix in self._stored], runs.seen)
        values = self._gather(value, [prefix.values[layer] for prefix in self._stored], runs.seen)
        return self._call(
            query.transpose(0, 1),  # (N, H, d)
            keys,
            values,
            runs.query_bounds,
            runs.key_bounds,
            runs.longest_query,
            runs.longest_key,
            scale,
            causal=not final,
        )

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


def _bounds(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).int()
