"""What training alone tells the encoder of a scene: the figure in each cell, and all in it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from demo.data.scenes import Description, Scene
from demo.data.scenes.split import KINDS
from demo.data.scenes.world import Kind

NOTHING, UNCLEAR = len(KINDS), -100
"""Labels of a cell that shows background alone, and of one that shows a figure's edge."""

INSIDE, OUTSIDE = 0.75, 1.15
"""Parts of a figure's radius within which a cell's middle is surely the figure's, or is not."""

_NUMBER = {kind: number for number, kind in enumerate(KINDS)}


def cells_of(scene: Scene, across: int) -> Tensor:
    """(across²,) the number of the kind in each cell, row by row; NOTHING or UNCLEAR elsewhere."""
    middles = [(n + 0.5) / across for n in range(across)]
    return torch.tensor([_cell(scene, x, y) for y in middles for x in middles])


def _cell(scene: Scene, x: float, y: float) -> int:
    label = NOTHING
    for figure in scene.figures:
        distance = math.dist((figure.x, figure.y), (x, y)) / figure.radius
        if distance < INSIDE:
            return _NUMBER[figure.kind]
        if distance < OUTSIDE:
            label = UNCLEAR
    return label


def shown(scene: Scene) -> Tensor:
    """(kinds,) 1 for each colour and shape in the scene."""
    return _marked(frozenset(figure.kind for figure in scene.figures))


def told(description: Description) -> Tensor:
    """(kinds,) 1 for each colour and shape that the description names."""
    return _marked(frozenset(mention.kind for mention in description.mentions))


@functools.lru_cache(maxsize=50_000)
def _marked(kinds: Iterable[Kind]) -> Tensor:
    marks = torch.zeros(len(KINDS))
    marks[[_NUMBER[kind] for kind in kinds]] = 1
    return marks
