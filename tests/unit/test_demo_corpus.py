"""The demo's pictures, texts and queries are the same everywhere, and free to ship."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageStat

import demo
from demo.corpus import CAPTIONS, CORPORA, EMOJI, SCENES, rounds
from demo.data.scenes import Split, holds, split_of_scene
from demo.documents import DemoItem
from demo.drawn import families, pictures_of

ROOT = Path(demo.__file__).parent
DIGEST = (
    "import hashlib; from demo.corpus import CORPORA, rounds; "
    "made = repr(([make() for make in CORPORA.values()], rounds())); "
    "print(hashlib.sha256(made.encode()).hexdigest())"
)


@pytest.fixture(scope="module")
def items() -> dict[str, dict[str, DemoItem]]:
    return {name: {item.id: item for item in make()} for name, make in CORPORA.items()}


def test_corpora_and_queries_are_the_same_in_another_process() -> None:
    other = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    made = repr(([make() for make in CORPORA.values()], rounds()))
    assert other == hashlib.sha256(made.encode()).hexdigest()


def test_every_item_has_an_id_of_its_own_and_says_what_it_shows(
    items: dict[str, dict[str, DemoItem]],
) -> None:
    for name, make in CORPORA.items():
        assert len(items[name]) == len(make())
        assert all(item.metadata["shows"] for item in make())
        assert all((item.image is None) == (name == CAPTIONS) for item in make())
    assert len(items[EMOJI]) >= 1500


@pytest.mark.parametrize("name", [SCENES, EMOJI])
def test_every_picture_decodes_and_shows_something(
    items: dict[str, dict[str, DemoItem]], name: str
) -> None:
    for item in list(items[name].values())[::7]:
        assert item.image is not None
        picture = Image.open(io.BytesIO(item.image)).convert("RGBA")
        assert min(picture.size) >= 64
        assert max(ImageStat.Stat(picture).stddev) > 5


def test_scenes_are_of_the_test_split_and_no_two_are_alike() -> None:
    scenes = [scene for family in families() for scene in family.pictures.values()]
    assert len(set(scenes)) == len(scenes)
    assert all(split_of_scene(scene) <= {Split.TEST} for scene in scenes)


def test_captions_are_true_or_false_as_their_ids_say() -> None:
    for family in families():
        assert len(family.wrong) >= 2
        for item_id, caption in family.captions.items():
            said = item_id == f"caption-{family.id}"
            assert holds(family.scene, caption.facts, loosely=not said) == said


def test_the_right_item_of_a_query_is_there_and_every_kind_is_asked(
    items: dict[str, dict[str, DemoItem]],
) -> None:
    for one in rounds():
        assert len(one.queries) == 4
        for query in one.queries:
            assert query.target in items[one.corpus]
            assert ("text" in one.title.split(" → ")[0]) == (query.text is not None)
            assert ("image" in one.title.split(" → ")[0]) == (query.image is not None)
            assert query.image is None or query.image != items[one.corpus][query.target].image


def test_of_all_pictures_one_alone_bears_out_a_query_in_words() -> None:
    by_id = {f"scene-{family.id}": family for family in families()}
    scenes = {i: scene for family in families() for i, scene in family.pictures.items()}
    for query in rounds()[0].queries:
        facts = by_id[query.target].caption.facts
        assert [i for i, scene in scenes.items() if holds(scene, facts)] == [query.target]


def test_the_photograph_is_small_and_attributed() -> None:
    attribution = (ROOT / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for photo in (ROOT / "assets" / "photos").iterdir():
        assert f"| {photo.name} | " in attribution
        assert "CC0-1.0" in attribution
        assert photo.stat().st_size <= 25_000
        with Image.open(photo) as opened:
            assert not opened.getexif()


def test_what_a_picture_shows_is_told_with_the_size_of_every_shape() -> None:
    for family in families():
        for item in pictures_of([family]):
            scene = family.pictures[item.id]
            for one in scene.figures:
                assert f"{one.size} {one.colour} {one.shape}" in item.metadata["shows"]
