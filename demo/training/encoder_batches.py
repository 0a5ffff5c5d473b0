"""What the encoder is trained on: pictures and texts, which belong together, and which do not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import permutations
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from demo.data.emoji import Emoji, trained_emoji
from demo.data.emoji.catalogue import on_white
from demo.data.emoji.queries import TEXTS
from demo.data.scenes import (
    TEMPLATES,
    Description,
    Edit,
    Error,
    Scene,
    Split,
    compose,
    describe,
    draw,
    hard_negative,
    holds,
    sample_scene,
    write,
)
from demo.data.scenes.world import relation_between
from demo.training.collate import MEAN, STD
from demo.training.encoder_labels import cells_of, shown, told
from demo.training.recipe import SIDE, EncoderRecipe

COMPOSED = 0.15
"""Part of the scenes that are asked for by another picture and an edit."""

EDITED = 0.5
"""Part of the scenes that come with the same scene after an edit, and a caption of that."""


@dataclass(frozen=True, slots=True)
class EncoderBatch:
    """M pictures (M, 3, SIDE, SIDE); K texts (K, T) with their mask.

    `pairs` (N, 2) picture and text that belong together; texts in no pair are hard negatives.
    `styles` (E, 2) two pictures of one emoji. `edits` (C, 4): picture and text that ask for the
    third, a picture, and not for the fourth. `scenes` (S,) the pictures that are scenes with a
    caption, with what is in their `cells` (S, cells) and in them at all, `shown` (S, kinds);
    `captions` (W,) their texts, with the kinds that are `told` (W, kinds).
    """

    pixels: Tensor
    ids: Tensor
    mask: Tensor
    pairs: Tensor
    styles: Tensor
    edits: Tensor
    scenes: Tensor
    cells: Tensor
    shown: Tensor
    captions: Tensor
    told: Tensor

    def to(self, device: torch.device) -> EncoderBatch:
        values = {each.name: getattr(self, each.name).to(device) for each in fields(self)}
        return EncoderBatch(**values)


@dataclass(slots=True)
class _Collected:
    images: list[Image.Image] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    styles: list[tuple[int, int]] = field(default_factory=list)
    edits: list[tuple[int, int, int, int]] = field(default_factory=list)
    scenes: list[tuple[int, Scene]] = field(default_factory=list)
    captions: list[tuple[int, Description]] = field(default_factory=list)

    def scene(self, scene: Scene) -> int:
        number = self.image(draw(scene, SIDE))
        self.scenes.append((number, scene))
        return number

    def caption(self, description: Description, template: int) -> int:
        number = self.text(write(description, template).text)
        self.captions.append((number, description))
        return number

    def image(self, image: Image.Image) -> int:
        self.images.append(image)
        return len(self.images) - 1

    def text(self, text: str) -> int:
        self.texts.append(text)
        return len(self.texts) - 1


def encoder_batch(tokens: Any, recipe: EncoderRecipe, seed: int, step: int) -> EncoderBatch:
    """One step's batch, of about as many pictures as the recipe says, a part of them emoji.

    `tokens` turns texts into input_ids and attention_mask, as the service's TextEncoder does.
    """
    rng, found = random.Random(f"{seed}/encoder/{step}"), _Collected()
    while len(found.images) < recipe.budget.images:
        if rng.random() < recipe.emoji:
            _add_emoji(rng, found)
        elif rng.random() < COMPOSED:
            _add_edit(rng, found)
        else:
            _add_scenes(rng, found, hard=recipe.hard)
    written = tokens(found.texts)
    return EncoderBatch(
        pixels=torch.stack([pixels(image) for image in found.images]),
        ids=written["input_ids"],
        mask=written["attention_mask"],
        pairs=torch.tensor(found.pairs).reshape(-1, 2),
        styles=torch.tensor(found.styles, dtype=torch.long).reshape(-1, 2),
        edits=torch.tensor(found.edits, dtype=torch.long).reshape(-1, 4),
        **_labels(found, SIDE // recipe.size.patch),
    )


def _labels(found: _Collected, across: int) -> dict[str, Tensor]:
    """Of scenes and captions, for the heads that only training has."""
    return {
        "scenes": torch.tensor([number for number, _ in found.scenes], dtype=torch.long),
        "cells": _stacked([cells_of(scene, across) for _, scene in found.scenes]),
        "shown": _stacked([shown(scene) for _, scene in found.scenes]),
        "captions": torch.tensor([number for number, _ in found.captions], dtype=torch.long),
        "told": _stacked([told(description) for _, description in found.captions]),
    }


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(rows)) if rows else torch.zeros(0, 1)


def pixels(image: Image.Image) -> Tensor:
    """As CLIPImageProcessor gives a picture of SIDE pixels: (3, SIDE, SIDE)."""
    values = (np.asarray(image, np.float32) / 255 - MEAN) / STD
    return torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)


def _add_scenes(rng: random.Random, found: _Collected, *, hard: bool) -> None:
    """A scene with its caption, and now and then the same scene after an edit, with one of its own.

    Where neither caption can pass for the other's picture: each is a hard negative then.
    """
    scene = sample_scene(rng, rng.choice((2, 3)), Split.TRAIN)
    description = describe(scene, rng)
    _add_scene(rng, found, scene, description, hard=hard)
    made = (
        compose(scene, rng.choice(list(Edit)), rng, Split.TRAIN) if rng.random() < EDITED else None
    )
    if made and any(relation_between(*two) for two in permutations(made.target.figures, 2)):
        other = describe(made.target, rng)
        if not (_passes(description, made.target) or _passes(other, scene)):
            _add_scene(rng, found, made.target, other, hard=hard)


WRONG = 3
"""Kinds of hard negative that are tried for a caption: a text costs a tenth of a picture."""


def _passes(description: Description, scene: Scene) -> bool:
    return holds(scene, write(description, 0).facts, loosely=True)


def _add_scene(
    rng: random.Random, found: _Collected, scene: Scene, description: Description, *, hard: bool
) -> None:
    """A scene and its caption; its texts are of two figures or more, so that few fit others."""
    template = rng.randrange(len(TEMPLATES))
    found.pairs.append((found.scene(scene), found.caption(description, template)))
    if hard:
        for error in rng.sample(list(Error), WRONG):
            wrong = hard_negative(scene, description, error, rng, Split.TRAIN)
            if wrong:
                found.caption(wrong, template)


def _add_edit(rng: random.Random, found: _Collected) -> None:
    scene = sample_scene(rng, rng.choice((2, 3)), Split.TRAIN)
    made = compose(scene, rng.choice(list(Edit)), rng, Split.TRAIN)
    if made:
        reference, target, wrong = (
            found.image(draw(each, SIDE))
            for each in (made.reference, made.target, rng.choice(made.wrong))
        )
        found.edits.append((reference, found.text(made.text), target, wrong))


def _add_emoji(rng: random.Random, found: _Collected) -> None:
    """An emoji in two styles, with a text for one of them."""
    emoji = rng.choice(trained_emoji())
    first, second = (
        found.image(_jittered(rng, on_white(emoji.code, style)))
        for style in rng.sample(emoji.training_styles, 2)
    )
    found.styles.append((first, second))
    found.pairs.append((first, found.text(_emoji_text(rng, emoji))))


def _emoji_text(rng: random.Random, emoji: Emoji) -> str:
    if emoji.keywords and rng.random() < 0.25:
        some: Sequence[str] = rng.sample(emoji.keywords, min(2, len(emoji.keywords)))
        return ", ".join((emoji.name, *some))
    return rng.choice(TEXTS).format(emoji.name)


def _jittered(rng: random.Random, image: Image.Image) -> Image.Image:
    """Somewhat smaller and moved, on a light ground: styles differ in more than their lines."""
    side = rng.randint(SIDE * 3 // 4, SIDE)
    ground = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    at = (rng.randint(0, SIDE - side), rng.randint(0, SIDE - side))
    ground.paste(image.resize((side, side), Image.Resampling.BICUBIC), at)
    return ground
