"""What the judge is trained on is what the worker will ask, with the right answers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from PIL import Image
from transformers import Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from demo.data.scenes import Split, draw, sample_scene
from demo.training.batches import Maker
from demo.training.collate import IGNORED, collate, patches
from demo.training.matches import FULLY, Asked
from demo.training.recipe import ALL_READOUTS, CURRICULUM, MERGE, PATCH, SIDE, Stage
from demo.training.rows import Picture, Row
from demo.training.speech import Speech
from demo.training.vocabulary import judge_tokenizer
from repick.specs import Readout


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    return judge_tokenizer(420, emoji=False)


@pytest.fixture(scope="module")
def speech(tokenizer: Qwen2Tokenizer) -> Speech:
    return Speech(tokenizer)


@pytest.fixture(scope="module")
def decode(tokenizer: Qwen2Tokenizer) -> Callable[[int], str]:
    return lambda token: str(tokenizer.decode([token]))


def made(speech: Speech, stage: Stage, step: int = 0) -> tuple[list[Picture], list[Row]]:
    return Maker(speech, stage, 4).batch(24, seed=1, step=step)


@pytest.mark.parametrize("stage", CURRICULUM, ids=[stage.name for stage in CURRICULUM])
def test_a_batch_depends_on_stage_seed_and_step_alone(speech: Speech, stage: Stage) -> None:
    def ids(step: int) -> list[tuple[int, ...]]:
        return [row.turn.ids for row in made(speech, stage, step)[1]]

    assert ids(3) == ids(3) != ids(4)


def test_patches_are_those_of_the_image_processor() -> None:
    image = draw(sample_scene(random.Random(1), 3, Split.TRAIN), SIDE)
    processor = Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=2,
        size={"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE},
    )
    expected = processor(images=[image], return_tensors="pt")
    assert expected["image_grid_thw"].tolist() == [[1, SIDE // PATCH, SIDE // PATCH]]
    assert torch.allclose(patches(image), expected["pixel_values"], atol=1e-6)


@pytest.mark.parametrize("readout", list(ALL_READOUTS))
def test_a_label_answers_the_question_of_its_readout(readout: Readout) -> None:
    asked = Asked(readout, 0, query_is_picture=False, template=0)
    good, bad = asked.answer(FULLY), asked.answer(0)
    assert good != bad
    if readout is Readout.RATING:
        assert (good, bad) == ("4", "0")
    else:
        assert good in asked.question
        assert bad in asked.question


def test_the_balanced_choice_is_asked_in_both_orders() -> None:
    orders = [Asked(Readout.CHOICE_BALANCED, no, False, 0) for no in (0, 1)]
    assert [asked.answer(FULLY) for asked in orders] == ["A", "B"]
    assert orders[0].question != orders[1].question


def test_words_stand_where_a_row_says_they_do(speech: Speech, decode: Callable[[int], str]) -> None:
    pictures, rows = made(speech, CURRICULUM[2])
    pointed = 0
    for row in rows:
        for at, figure in row.points:
            scene = pictures[row.pictures[0]].scene
            assert scene is not None
            word = decode(row.turn.ids[at]).strip()
            assert word in scene.figures[figure].kind
            pointed += 1
    assert pointed > 30


def test_truth_so_far_ends_where_the_answer_begins(speech: Speech) -> None:
    _, rows = made(speech, CURRICULUM[2])
    matches = [row for row in rows if row.positive is not None]
    assert {row.positive for row in matches} == {True, False}
    for row in matches:
        told = [true for _, true in row.truths]
        assert told[-1] == row.positive
        assert told == sorted(told, reverse=True), "what is false does not become true again"
        assert [at for at, _ in row.truths] == sorted(at for at, _ in row.truths)


def test_every_false_row_stands_beside_its_true_one(speech: Speech) -> None:
    for stage in CURRICULUM:
        _, rows = made(speech, stage)
        matches = [row for row in rows if row.positive is not None]
        assert [row.positive for row in matches] == [True, False] * (len(matches) // 2)


def test_the_last_stage_asks_in_all_forms_about_scenes_edits_and_emoji(
    speech: Speech, decode: Callable[[int], str]
) -> None:
    rows = [row for step in range(6) for row in made(speech, CURRICULUM[-1], step)[1]]
    kinds = Counter(row.graded.split("_")[0] for row in rows)
    assert {"look", "composed", "emoji", "true"} <= set(kinds)
    answers = {decode(row.answers[0][1]) for row in rows if row.positive is not None}
    assert answers >= {"A", "B", "Yes", "No", "True", "False", "Right", "Wrong", "0", "2", "4"}
    assert {len(row.pictures) for row in rows} == {1, 2}


def test_tensors_mark_what_each_cell_shows(speech: Speech) -> None:
    pictures, rows = made(speech, CURRICULUM[1])
    batch = collate([*pictures, Picture(Image.new("RGB", (SIDE, SIDE)))], rows)
    assert set(batch.classes[-1].tolist()) == {IGNORED}
    for no, picture in enumerate(pictures):
        assert picture.scene is not None
        count = len(picture.scene.figures)
        shown = set(batch.classes[no].tolist())
        assert 0 in shown
        assert 1 < len(shown) <= 1 + count
        assert (batch.cover[no, :count].sum(1) > 0.5).all()
        assert (batch.cover[no, count:] == 0).all()
    visual = (batch.ids == speech.image_token).sum(1)
    assert set(visual.tolist()) == {batch.classes.shape[1]}
