"""What the judge is trained on: pictures, and rows of tokens with what should be read of them."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from demo.data.scenes import Scene
from demo.training.speech import Turn


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of SIDE pixels; `scene` is what it shows, None for what is not drawn by us."""

    image: Image.Image
    scene: Scene | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence over some of a batch's pictures, and what training asks of its positions.

    `answers`: (position, token that it must predict). `truths`: (position, whether what has been
    told up to there holds). `points`: (position, number of the figure that the word there means).
    `graded` says what the row measures, such as "colour" or "look_up"; `positive` whether a match
    question's answer is yes, None for other rows.
    """

    turn: Turn
    pictures: tuple[int, ...]
    answers: tuple[tuple[int, int], ...]
    truths: tuple[tuple[int, bool], ...] = ()
    points: tuple[tuple[int, int], ...] = ()
    graded: str = ""
    positive: bool | None = None
