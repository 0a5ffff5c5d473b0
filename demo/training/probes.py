"""Scenes with true and false captions, by which every model is measured alike."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from demo.data.scenes import (
    CLASS_OF,
    TEMPLATES,
    Caption,
    Error,
    Scene,
    Split,
    describe,
    draw,
    hard_negative,
    sample_scene,
    write,
)
from demo.training.recipe import SIDE
from repick.content import LoadedContent


@dataclass(frozen=True, slots=True)
class Probe:
    """A drawn scene, a caption that is true of it, and false ones in the same words."""

    scene: Scene
    image: LoadedContent
    right: Caption
    wrong: Mapping[Error, Caption]


def probes(count: int, split: Split, seed: int = 0) -> list[Probe]:
    """Scenes of two and three figures, each with every error that its description allows."""
    rng = random.Random(f"probes/{split}/{seed}")
    return [_probe(rng, split, no) for no in range(count)]


def _probe(rng: random.Random, split: Split, number: int) -> Probe:
    scene = sample_scene(rng, rng.choice((2, 3)), split)
    description, template = describe(scene, rng), rng.randrange(len(TEMPLATES))
    made = {error: hard_negative(scene, description, error, rng, split) for error in Error}
    wrong = {error: write(each, template) for error, each in made.items() if each}
    picture = draw(scene, SIDE)
    digest = hashlib.sha256(picture.tobytes()).digest()
    image = LoadedContent(number, None, picture, digest)
    return Probe(scene, image, write(description, template), wrong)


def summary(above: Mapping[Error, Sequence[bool]]) -> dict[str, Any]:
    """Accuracy by error and by replace, swap and add (the mean of their classes), and counts."""
    classes: dict[str, list[float]] = defaultdict(list)
    by_class: dict[str, list[bool]] = defaultdict(list)
    for error, values in above.items():
        by_class[CLASS_OF[error]].extend(values)
    for name, values in by_class.items():
        classes[name.split("_")[0]].append(fmean(values))
    return {
        "accuracy": means(above),
        "classes": {name: round(fmean(classes[name]), 4) for name in sorted(classes)},
        "pairs": {error.value: len(values) for error, values in above.items()},
    }


def means(values: Mapping[Error, Sequence[bool]]) -> dict[str, float]:
    """The share of what is true, by error."""
    return {error.value: round(fmean(each), 4) for error, each in values.items()}
