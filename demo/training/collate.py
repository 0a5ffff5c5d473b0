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
    """P pictures, N = CELLS² visual tokens each, R rows of T tokens.

    `patches` (P·4N, values), `classes` (P, N) the figure that a cell shows, 0 for none, IGNORED
    where it is not known; `cover` (P, MOST_FIGURES, N) which cells a figure fills; `centres`
    (P, MOST_FIGURES, 2). `ids` (R, T), `positions` (3, R, T), `pictures` of all rows in their
    order. What is asked, each with the row and the position: `answers`
    (A, 3) with the token; `truths` (B, 3) with 0 or 1; `points` (C, 4) with picture and figure.
    `graded` (R) says what each row measures.
    """

    patches: Tensor
    classes: Tensor
    cover: Tensor
    centres: Tensor
    ids: Tensor
    positions: Tensor
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
    """One batch of pictures and rows; rows are padded at the end."""
    width = max(len(row.turn.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.zeros(3, len(rows), width, dtype=torch.long)
    for no, row in enumerate(rows):
        length = len(row.turn.ids)
        ids[no, :length] = torch.tensor(row.turn.ids)
        positions[:, no, :length] = row.turn.positions
    classes, cover, centres = zip(*(_shown(picture) for picture in pictures), strict=True)
    return Batch(
        patches=torch.cat([patches(picture.image) for picture in pictures]),
        classes=torch.stack(classes),
        cover=torch.stack(cover),
        centres=torch.stack(centres),
        ids=ids,
        positions=positions,
        pictures=torch.tensor([number for row in rows for number in row.pictures]),
        answers=_table([(no, *each) for no, row in enumerate(rows) for each in row.answers], 3),
        truths=_table(
            [(no, at, int(true)) for no, row in enumerate(rows) for at, true in row.truths], 3
        ),
        points=_table(
            [(no, at, row.pictures[0], f) for no, row in enumerate(rows) for at, f in row.points], 4
        ),
        graded=tuple(row.graded for row in rows),
    )


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
