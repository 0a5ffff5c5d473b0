"""The demo's pictures, texts and queries are the same everywhere, and free to ship."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageStat

from demo.corpus import ASSETS, DemoItem, demo_items, demo_queries, photos
from demo.scenes import COLOURS, SIDE, draw_scenes


@pytest.fixture(scope="module")
def items() -> dict[str, DemoItem]:
    return {item.id: item for item in demo_items()}


def opened(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image)).convert("RGB")


def test_the_corpus_is_the_same_in_another_process() -> None:
    program = (
        "import hashlib; from demo.corpus import demo_items, demo_queries; "
        "print(hashlib.sha256(repr((demo_items(20), demo_queries(20))).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            cwd=ASSETS.parents[1],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_another_seed_draws_other_scenes() -> None:
    assert set(draw_scenes(20, seed=7)).isdisjoint(draw_scenes(20, seed=8))


def test_the_corpus_has_texts_images_and_both_under_ids_of_their_own(
    items: dict[str, DemoItem],
) -> None:
    assert len(items) == len(demo_items())
    kinds = Counter(item.metadata["kind"] for item in items.values())
    assert set(kinds) == {"text", "image", "image and text"}
    assert min(kinds.values()) >= 30
    for item in items.values():
        assert (item.text is not None) == ("text" in item.metadata["kind"])
        assert (item.image is not None) == ("image" in item.metadata["kind"])


def test_no_two_pictures_and_no_two_captions_are_alike(items: dict[str, DemoItem]) -> None:
    drawn = [item for item in items.values() if item.id.startswith("scene")]
    assert len({item.image for item in drawn}) == len(drawn) == 120
    assert len({item.metadata["shows"] for item in drawn}) == len(drawn)


def test_every_picture_decodes_and_is_large_enough(items: dict[str, DemoItem]) -> None:
    for item in items.values():
        if item.image is not None:
            assert min(opened(item.image).size) >= 96
            assert max(ImageStat.Stat(opened(item.image)).stddev) > 5


@pytest.mark.parametrize("colour", list(COLOURS))
def test_a_caption_names_the_colours_that_are_there(colour: str) -> None:
    told = 0
    for scene in draw_scenes(30, seed=7):
        seen = bool(_painted(opened(scene.png()), colour).any())
        assert seen == (f" {colour} " in scene.caption.rsplit(", on a", 1)[0])
        told += seen
    assert told > 0


@pytest.mark.parametrize(
    ("relation", "axis", "sign"),
    [("to the left of", 0, -1), ("to the right of", 0, 1), ("above", 1, -1), ("below", 1, 1)],
)
def test_a_caption_names_the_relation_that_is_drawn(relation: str, axis: int, sign: int) -> None:
    scenes = [scene for scene in draw_scenes(30, seed=7) if scene.relation == relation]
    assert scenes
    for scene in scenes:
        first, second = (
            _middle(opened(scene.png()), figure.colour) for figure in scene.figures[:2]
        )
        assert sign * (first[axis] - second[axis]) > SIDE / 4


def _painted(image: Image.Image, colour: str) -> Any:
    """Where the image has exactly that colour: booleans (height, width)."""
    wanted = [int(COLOURS[colour][i : i + 2], 16) for i in (1, 3, 5)]
    return (np.asarray(image) == wanted).all(axis=2)


def _middle(image: Image.Image, colour: str) -> tuple[float, float]:
    rows, columns = np.nonzero(_painted(image, colour))
    return float(columns.min() + columns.max()) / 2, float(rows.min() + rows.max()) / 2


def test_every_tenth_scene_is_the_one_before_in_another_colour() -> None:
    drawn = draw_scenes(40, seed=7)
    for before, after in zip(drawn[8::10], drawn[9::10], strict=True):
        assert before.recoloured(after.figures[0].colour) == after != before


def test_queries_are_of_all_three_kinds_and_what_they_seek_is_there(
    items: dict[str, DemoItem],
) -> None:
    queries = demo_queries()
    kinds = Counter((query.text is not None, query.image is not None) for query in queries)
    assert kinds == {(True, False): 2, (False, True): 2, (True, True): 2}
    for query in queries:
        wanted = "text" if "→ text" in query.title else "image"
        assert wanted in items[query.target].metadata["kind"]
        assert query.image is None or query.image != items[query.target].image


def test_photographs_are_small_free_and_attributed() -> None:
    attribution = (ASSETS.parent / "ATTRIBUTION.md").read_text(encoding="utf-8")
    listed = photos()
    assert {photo.file for photo in listed} == {path.name for path in (ASSETS / "photos").iterdir()}
    assert len(listed) >= 10
    for photo in listed:
        assert photo.licence in ("CC0-1.0", "public domain")
        assert re.search(re.escape(f"{photo.licence} | <{photo.source}>"), attribution)
        assert len(photo.jpeg()) <= 25_000
        assert max(opened(photo.jpeg()).size) <= 256
        assert not Image.open(io.BytesIO(photo.jpeg())).getexif()
