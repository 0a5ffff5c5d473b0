"""Pictures and rows as tensors: what a step of training puts on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from demo.data.scenes.split import KINDS
from demo.data.scenes.world import Figure
from demo.training.recipe import CELLS, MERGE, PATCH, SIDE
from demo.training.rows import Picture, Row

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
MOST_FIGURES = 3
COVERED = 0.15
"""Part of a cell that a figure must fill to be what the cell shows."""

IGNORED = -100
_CLASS = {kind: no + 1 for no, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Batch:
    """P pictures, N = CELLS² visual tokens each, R rows in S sequences of T tokens.

    `patches` (P·4N, values), `classes` (P, N) the figure that a cell shows, 0 for none, IGNORED
    where it is not known; `cover` (P, MOST_FIGURES, N) which cells a figure fills; `centres`
    (P, MOST_FIGURES, 2). `ids` (S, T), `positions` (3, S, T), `visible` (S, 1, T, T) whether a
    token may attend to another, `pictures` of all sequences in their order. What is asked, each
    with the sequence and the position: `answers` (A, 4) with the token and the row; `truths` (B, 3)
    with 0 or 1; `points` (C, 5) with picture, figure and row. `graded` (R) says what each row
    measures.
    """

    patches: Tensor
    classes: Tensor
    cover: Tensor
    centres: Tensor
    ids: Tensor
    positions: Tensor
    visible: Tensor
    pictures: Tensor
    answers: Tensor
    truths: Tensor
    points: Tensor
    graded: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if isinstance(value, Tensor):
                values[name] = value.to(device, non_blocking=True)
        return Batch(**values)


def collate(pictures: Sequence[Picture], rows: Sequence[Row]) -> Batch:
    """One batch of pictures and rows; sequences are padded at the end."""
    packs = pack(rows)
    classes, cover, centres = zip(*(_shown(picture) for picture in pictures), strict=True)
    put = {
        row: (no, start - shared)
        for no, (numbers, shared) in enumerate(packs)
        for row, start in zip(numbers, _starts(rows, numbers, shared), strict=True)
    }
    ids, positions, visible = _sequences(rows, packs)
    asked = [(row, each, *put[row]) for row, each in enumerate(rows)]
    return Batch(
        patches=torch.cat([patches(picture.image) for picture in pictures]),
        classes=torch.stack(classes),
        cover=torch.stack(cover),
        centres=torch.stack(centres),
        ids=ids,
        positions=positions,
        visible=visible,
        pictures=torch.tensor([n for numbers, _ in packs for n in rows[numbers[0]].pictures]),
        answers=_table(
            [(no, at + by, t, row) for row, r, no, by in asked for at, t in r.answers], 4
        ),
        truths=_table(
            [(no, at + by, int(true)) for _, r, no, by in asked for at, true in r.truths], 3
        ),
        points=_table(
            [
                (no, at + by, each.pictures[0], figure, row)
                for row, each, no, by in asked
                for at, figure in each.points
            ],
            5,
        ),
        graded=tuple(row.graded for row in rows),
    )


Pack = tuple[list[int], int]
"""Rows that make one sequence, and how many tokens they all begin with, their pictures included."""


def pack(rows: Sequence[Row]) -> list[Pack]:
    """Rows that begin with the same pictures in the same words, together.

    What they share is computed once; nothing is asked there, so no answer knows another row.
    """
    groups: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for number, row in enumerate(rows):
        first = min((at for at, *_ in (*row.answers, *row.truths, *row.points)), default=0)
        shared = min(first, row.turn.first_picture_ends)
        groups.setdefault((tuple(row.pictures), tuple(row.turn.ids[:shared])), []).append(number)
    return [(numbers, len(key[1])) for key, numbers in groups.items()]


def _starts(rows: Sequence[Row], numbers: Sequence[int], shared: int) -> list[int]:
    """Where the own part of each row of a pack begins in its sequence."""
    starts, at = [], shared
    for number in numbers:
        starts.append(at)
        at += len(rows[number].turn.ids) - shared
    return starts


def _sequences(rows: Sequence[Row], packs: Sequence[Pack]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids (S, T), positions (3, S, T) and visibility (S, 1, T, T) of packed rows."""
    lengths = [s + sum(len(rows[no].turn.ids) - s for no in numbers) for numbers, s in packs]
    width = max(lengths)
    ids = torch.zeros(len(packs), width, dtype=torch.long)
    positions = torch.zeros(3, len(packs), width, dtype=torch.long)
    branch = torch.full((len(packs), width), -1)
    for no, (numbers, shared) in enumerate(packs):
        head = rows[numbers[0]].turn
        ids[no, :shared] = torch.tensor(head.ids[:shared])
        positions[:, no, :shared] = head.positions[:, :shared]
        branch[no, :shared] = 0
        for label, (number, start) in enumerate(
            zip(numbers, _starts(rows, numbers, shared), strict=True), 1
        ):
            turn = rows[number].turn
            own = slice(start, start + len(turn.ids) - shared)
            ids[no, own] = torch.tensor(turn.ids[shared:])
            positions[:, no, own] = turn.positions[:, shared:]
            branch[no, own] = label
    same = (branch[:, :, None] == branch[:, None]) | (branch[:, None] == 0)
    return ids, positions, (same & torch.ones(width, width, dtype=torch.bool).tril())[:, None]


def patches(image: Image.Image) -> Tensor:
    """The picture as Qwen2VLImageProcessor gives it: (patches, 3·2·PATCH²), merge blocks together.

    The picture is SIDE pixels a side; the second of the two frames repeats the first.
    """
    values = (np.asarray(image, np.float32) / 255 - MEAN) / STD
    grid = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)  # (3, SIDE, SIDE)
    blocks = grid.reshape(3, CELLS, MERGE, PATCH, CELLS, MERGE, PATCH)
    ordered = blocks.permute(1, 4, 2, 5, 0, 3, 6)  # (row, column, row, column, 3, PATCH, PATCH)
    flat = ordered.reshape((SIDE // PATCH) ** 2, 3, 1, PATCH, PATCH)
    return flat.expand(-1, -1, 2, -1, -1).reshape(len(flat), -1)


def _shown(picture: Picture) -> tuple[Tensor, Tensor, Tensor]:
    """What each cell shows, which cells each figure fills, and where the figures are."""
    cover = torch.zeros(MOST_FIGURES, CELLS * CELLS)
    centres = torch.zeros(MOST_FIGURES, 2)
    if picture.scene is None:
        return torch.full((CELLS * CELLS,), IGNORED), cover, centres
    for no, figure in enumerate(picture.scene.figures):
        cover[no] = _filled(figure)
        centres[no] = torch.tensor([figure.x, figure.y])
    most, which = cover.max(0)
    kinds = torch.tensor([_CLASS[figure.kind] for figure in picture.scene.figures])
    classes = torch.where(most > COVERED, kinds[which.clamp(max=len(kinds) - 1)], 0)
    return classes, cover, centres


def _filled(figure: Figure) -> Tensor:
    """The part of each cell (CELLS²,) inside the figure's circle, by four by four points."""
    steps = (torch.arange(CELLS * 4) + 0.5) / (CELLS * 4)
    inside = (steps[:, None] - figure.y) ** 2 + (steps - figure.x) ** 2 <= figure.radius**2
    return inside.float().reshape(CELLS, 4, CELLS, 4).mean((1, 3)).reshape(-1)


def _table(rows: Sequence[tuple[int, ...]], width: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.long).reshape(-1, width)
