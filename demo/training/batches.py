"""A step's pictures and rows, a pure function of stage, seed and step: any step can resume."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from demo.data.scenes import (
    TEMPLATES,
    Description,
    Error,
    Scene,
    Split,
    describe,
    draw,
    hard_negative,
    holds,
    sample_scene,
    write,
)
from demo.training.lookups import caption_task_row, look_up_row
from demo.training.matches import FULLY, NOT_AT_ALL, PARTLY, ask, caption_row
from demo.training.pairs import Item, composed_item, emoji_item
from demo.training.recipe import SIDE, Stage
from demo.training.rows import Picture, Row
from demo.training.speech import Speech

EASY = 0.15
"""Of so many wrong captions the whole is wrong, as most of a corpus is."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes a stage's batches, `rows` or one more of each scene's picture."""

    speech: Speech
    stage: Stage
    rows: int
    split: Split = Split.TRAIN

    def batch(self, images: int, seed: int, step: int) -> tuple[list[Picture], list[Row]]:
        """At least `images` pictures, and the rows that refer to them by number."""
        rng = random.Random(f"{seed}/{self.split}/{self.stage.name}/{step}")
        pictures: list[Picture] = []
        rows: list[Row] = []
        while len(pictures) < images:
            new_pictures, new_rows = self._item(rng, len(pictures))
            pictures += new_pictures
            rows += new_rows
        return pictures, rows

    def _item(self, rng: random.Random, first: int) -> Item:
        kind = rng.choices(("scene", "composed", "emoji"), self.stage.items)[0]
        if kind == "composed":
            return composed_item(self.speech, self.stage.readouts, rng, first, self.split)
        if kind == "emoji":
            return emoji_item(self.speech, self.stage.readouts, rng, first)
        return self._scene_item(rng, first)

    def _scene_item(self, rng: random.Random, first: int) -> Item:
        """A scene, with rows that look up, tell or judge.

        All in one direction: prompts that begin alike are computed together.
        """
        count = rng.choices((1, 2, 3), self.stage.figures)[0]
        scene = sample_scene(rng, count, self.split)
        picture = Picture(draw(scene, SIDE), scene)
        backwards = rng.random() < 0.5
        rows: list[Row] = []
        while len(rows) < self.rows:
            kind = rng.choices(("look_up", "caption", "match"), self.stage.rows)[0]
            if kind == "look_up":
                rows.append(look_up_row(self.speech, rng, scene, first, query_is_picture=backwards))
            elif kind == "caption":
                rows.append(
                    caption_task_row(self.speech, rng, scene, first, query_is_picture=backwards)
                )
            else:
                rows += self._judged(rng, (first, picture), scene, backwards)
        return [picture], rows

    def _judged(
        self, rng: random.Random, picture: tuple[int, Picture], scene: Scene, backwards: bool
    ) -> tuple[Row, Row]:
        """The right caption and a wrong one, in the same words but for the error."""
        asked = ask(rng, self.stage.readouts, len(TEMPLATES), backwards)
        right = describe(scene, rng)
        wrong, rating, graded = self._wrong(rng, scene, right)
        return (
            caption_row(self.speech, asked, picture, right, FULLY, "true"),
            caption_row(self.speech, asked, picture, wrong, rating, graded),
        )

    def _wrong(
        self, rng: random.Random, scene: Scene, right: Description
    ) -> tuple[Description, int, str]:
        """A false description, its rating, and what is wrong with it."""
        if rng.random() >= EASY:
            for error in _errors(rng, self.stage.hard):
                wrong = hard_negative(scene, right, error, rng, self.split)
                if wrong:
                    return wrong, PARTLY, error.value
        while True:
            other = describe(sample_scene(rng, max(2, len(scene.figures)), self.split), rng)
            if not holds(scene, write(other, 0).facts, loosely=True):
                return other, NOT_AT_ALL, "other"


def _errors(rng: random.Random, first: Sequence[Error]) -> list[Error]:
    """All errors in the order in which they are tried, every other time from those of `first`."""
    hard = rng.sample(first, len(first)) if rng.random() < 0.5 else []
    return [*hard, *rng.sample(list(Error), len(Error))]
