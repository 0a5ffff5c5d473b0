"""Scenes are the same everywhere, captions are true of them, negatives are not."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

import demo.data.scenes
from demo.data.scenes import (
    CLASS_OF,
    TEMPLATES,
    Description,
    Error,
    Figure,
    Scene,
    Split,
    describe,
    draw,
    hard_negative,
    holds,
    sample_scene,
    write,
)
from demo.data.scenes.drawing import SIDE
from demo.data.scenes.world import BACKGROUNDS, COLOURS

SAMPLES = 2000
NOUN = re.compile(
    r"an? (?:(?P<size>small|large) )?(?P<colour>\w+) (?P<shape>\w+)"
    r"(?: in the (?P<corner>(?:top|bottom) (?:left|right)) corner)?"
)
RELATION = re.compile(r" (to the left of|to the right of|above|below) ")


@pytest.fixture(scope="module")
def samples() -> list[tuple[Scene, Description, Split]]:
    rng = random.Random(3)
    found = []
    for _ in range(SAMPLES):
        split = rng.choice(list(Split))
        scene = sample_scene(rng, rng.randint(1, 3), split)
        found.append((scene, describe(scene, rng), split))
    return found


def says_truly(text: str, scene: Scene) -> bool:
    """Read a caption of the first template with eyes of its own: loosely, in any assignment."""
    text, _, ground = text.partition(", on ")
    if ground and ground.split(" ", 1)[1] != f"{scene.background} background":
        return False
    nouns = list(NOUN.finditer(text))
    relation = RELATION.search(text)
    return any(
        all(_fits(noun, figure) for noun, figure in zip(nouns, chosen, strict=True))
        and (relation is None or _stands(relation[1], chosen[0], chosen[1]))
        for chosen in permutations(scene.figures, len(nouns))
    )


def _fits(noun: re.Match[str], figure: Figure) -> bool:
    if (figure.colour, figure.shape) != (noun["colour"], noun["shape"]):
        return False
    if noun["size"] and (figure.radius > 0.14) != (noun["size"] == "large"):
        return False
    if not noun["corner"]:
        return True
    side = ("top" if figure.y < 0.5 else "bottom", "left" if figure.x < 0.5 else "right")
    return " ".join(side) == noun["corner"]


def _stands(phrase: str, one: Figure, other: Figure) -> bool:
    dx, dy = one.x - other.x, one.y - other.y
    offset = {"to the left of": -dx, "to the right of": dx, "above": -dy, "below": dy}[phrase]
    across = dy if "the" in phrase else dx
    return offset > 0 and offset >= abs(across) / 2


def test_scenes_and_captions_are_the_same_in_another_process() -> None:
    program = (
        "import hashlib, random; from demo.data.scenes import *; rng = random.Random(5); "
        "made = [sample_scene(rng, 1 + n % 3, Split.TEST) for n in range(30)]; "
        "told = [write(describe(s, rng), n % 8).text for n, s in enumerate(made)]; "
        "print(hashlib.sha256(b''.join(map(png, made)) + repr(told).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            cwd=Path(demo.data.scenes.__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_caption_is_always_true(samples: list[tuple[Scene, Description, Split]]) -> None:
    assert all(says_truly(write(told, 0).text, scene) for scene, told, _ in samples)


def test_a_negative_is_never_true_by_accident(
    samples: list[tuple[Scene, Description, Split]],
) -> None:
    rng, made = random.Random(4), Counter[Error]()
    for scene, told, split in samples:
        for error in Error:
            wrong = hard_negative(scene, told, error, rng, split)
            if wrong:
                made[error] += 1
                assert not says_truly(write(wrong, 0).text, scene), (scene, wrong)
    assert min(made[error] for error in Error) > SAMPLES / 10


def test_a_relation_is_wrong_in_the_way_that_the_error_says(
    samples: list[tuple[Scene, Description, Split]],
) -> None:
    rng, across = random.Random(5), {"left": "x", "right": "x", "above": "y", "below": "y"}
    for scene, told, split in samples:
        for error in (Error.AXIS, Error.DIRECTION):
            wrong = hard_negative(scene, told, error, rng, split)
            if wrong and wrong.relation and told.relation:
                assert wrong.mentions == told.mentions
                same = across[wrong.relation] == across[told.relation]
                assert same == (error is Error.DIRECTION)


@pytest.mark.parametrize("error", [Error.SHAPE, Error.COLOUR, Error.SIZE, Error.ADD_SIZE])
def test_a_replaced_attribute_changes_one_mention_only(
    error: Error, samples: list[tuple[Scene, Description, Split]]
) -> None:
    rng, checked = random.Random(6), 0
    for scene, told, split in samples[:500]:
        wrong = hard_negative(scene, told, error, rng, split)
        if wrong:
            checked += 1
            changed = [a for a, b in zip(told.mentions, wrong.mentions, strict=True) if a != b]
            assert len(changed) == 1
            assert (wrong.relation, wrong.background) == (told.relation, told.background)
    assert checked > 50


def test_every_error_is_of_a_class_of_sugarcrepe() -> None:
    assert set(CLASS_OF) == set(Error)
    assert {name.split("_")[0] for name in CLASS_OF.values()} == {"replace", "swap", "add"}


@pytest.mark.parametrize("template", range(len(TEMPLATES)))
def test_every_template_tells_the_same_facts_and_knows_where(
    template: int, samples: list[tuple[Scene, Description, Split]]
) -> None:
    for scene, told, _ in samples[:300]:
        caption = write(told, template)
        assert holds(scene, caption.facts)
        assert len({*caption.facts}) == len(caption.facts) == len(write(told, 0).facts)
        assert all(
            word in caption.text
            for mention in told.mentions
            for word in (mention.colour, mention.shape, mention.size or "", mention.corner or "")
        )
        for mark in caption.marks:
            if hasattr(mark.fact, "value"):
                assert caption.text[: mark.end].endswith(mark.fact.value)


def test_what_is_drawn_is_what_the_scene_says(
    samples: list[tuple[Scene, Description, Split]],
) -> None:
    for scene, _, _ in samples[:200]:
        image = draw(scene)
        for figure in scene.figures:
            at = round(figure.x * SIDE - 0.5), round(figure.y * SIDE - 0.5)
            ring = figure.shape == "ring"
            expected = BACKGROUNDS[scene.background] if ring else COLOURS[figure.colour]
            assert _near(image.getpixel(at), expected, 30)
            edge = round((figure.x + figure.radius * 0.8) * SIDE - 0.5), at[1]
            if figure.shape in ("ring", "circle", "cross"):
                assert _near(image.getpixel(edge), COLOURS[figure.colour], 40)


def _near(pixel: Any, colour: tuple[int, int, int], reach: int) -> bool:
    return all(abs(a - b) <= reach for a, b in zip(pixel, colour, strict=True))


def test_scenes_vary_in_background_texture_place_and_size(
    samples: list[tuple[Scene, Description, Split]],
) -> None:
    def values() -> Iterator[tuple[str, object]]:
        for scene, _, _ in samples:
            yield "texture", scene.texture
            yield "background", scene.background
            for figure in scene.figures:
                yield "place", (round(figure.x, 1), round(figure.y, 1))
                yield "radius", figure.radius

    kinds = Counter(name for name, _ in set(values()))
    assert kinds["texture"] == 5
    assert kinds["background"] == 4
    assert kinds["place"] > 60
    assert kinds["radius"] > 300
