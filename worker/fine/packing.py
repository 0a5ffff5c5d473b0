"""A tree of prompts as one row of tokens, without padding, and what the device needs to read it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.fine.blocks import BlockKernel
from worker.fine.kernels import Kernel, VarlenKernel
from worker.fine.prompts import ImageSegment
from worker.fine.tree import Node, Tree
from worker.fine.varlen import varlen_fits


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """One batch: `ids` (1, N), `positions` (3, 1, N), and rows within it on the device.

    `image_rows` (M,) are those of visual tokens, of `images` in that order; `answers` (R,) those
    that are read, a pass each.
    """

    ids: Tensor
    positions: Tensor
    image_rows: Tensor
    images: tuple[ImageSegment, ...]
    answers: Tensor
    kernel: Kernel


def pack(tree: Tree, device: torch.device) -> Pack:
    """Lay the tree's nodes one behind the other, siblings by length."""
    family = tree.family
    nodes = _in_order(tree.nodes)
    ids: list[int] = []
    image_rows: list[int] = []
    images: list[ImageSegment] = []
    for node in nodes:
        node.row = len(ids)
        for segment in node.segments:
            if isinstance(segment, ImageSegment):
                images.append(segment)
                image_rows += range(len(ids), len(ids) + segment.length)
                ids += [family.image_token_id] * segment.length
            else:
                ids += segment.ids
    positions = torch.cat([family.positions(one.segments, one.start)[0] for one in nodes], dim=1)
    answers = torch.tensor([node.row + node.length - 1 for node in tree.answers])
    return Pack(
        torch.tensor([ids]).to(device, non_blocking=True),
        positions[:, None].to(device, non_blocking=True),
        torch.tensor(image_rows, dtype=torch.long).to(device, non_blocking=True),
        tuple(images),
        answers.to(device, non_blocking=True),
        _kernel(tree, nodes, device),
    )


def _in_order(nodes: list[Node]) -> list[Node]:
    """Siblings one behind the other, by length, so that those alike lie together."""
    place: dict[int, int] = {}
    for node in nodes:
        place.setdefault(id(node.before), len(place))
    return sorted(nodes, key=lambda node: (place[id(node.before)], node.length))


def _kernel(tree: Tree, nodes: list[Node], device: torch.device) -> Kernel:
    last = len(tree.family.decoder.layers) - 1
    head = tree.family.decoder.head
    probe = head.new_empty((1, 1, tree.family.head_size))
    made = VarlenKernel if varlen_fits(probe) else BlockKernel
    return made(nodes, tree.answers, last, device)
