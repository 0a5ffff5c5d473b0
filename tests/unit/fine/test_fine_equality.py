"""Scores equal a plain forward pass of the library's own model, tokenizer and image processor."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from repick.content import LoadedContent
from repick.specs import Readout, ScorerSpec
from tests.unit.fine.reference import Pair, library_inputs, library_margin
from worker.fine.prompts import ImageSegment, TextSegment
from worker.fine.scorer import FineModel


@pytest.fixture(scope="session")
def plain_spec(fine_model: FineModel) -> ScorerSpec:
    return next(
        spec
        for spec in fine_model.specs
        if spec.readout is Readout.CHOICE and spec.enhancement is None
    )


@pytest.fixture(scope="session")
def expected(plain_model: Any, tokenizer: Any, plain_spec: ScorerSpec, pairs: list[Pair]) -> Any:
    return [library_margin(plain_model, tokenizer, plain_spec, pair) for pair in pairs]


@pytest.fixture(scope="session")
def tolerance(expected: Sequence[float]) -> float:
    return 1e-4 * statistics.pstdev(expected) + 1e-6


def margins(model: FineModel, spec: ScorerSpec, pairs: Sequence[Pair]) -> list[float]:
    scores = model.score([model.prepare(*pair, spec) for pair in pairs])
    return [score.margin for score in scores if score.margin is not None]


def largest_difference(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def test_the_references_margins_spread(expected: Sequence[float]) -> None:
    assert statistics.pstdev(expected) >= 0.1


def test_a_batch_equals_the_plain_forward(
    fine_model: FineModel,
    plain_spec: ScorerSpec,
    pairs: list[Pair],
    expected: Sequence[float],
    tolerance: float,
) -> None:
    ours = margins(fine_model, plain_spec, pairs)
    assert largest_difference(ours, expected) <= tolerance


def test_single_pairs_equal_the_plain_forward(
    fine_model: FineModel,
    plain_spec: ScorerSpec,
    pairs: list[Pair],
    expected: Sequence[float],
    tolerance: float,
) -> None:
    ours = [margins(fine_model, plain_spec, [pair])[0] for pair in pairs]
    assert largest_difference(ours, expected) <= tolerance


def test_a_margin_does_not_depend_on_neighbours_or_order(
    fine_model: FineModel,
    plain_spec: ScorerSpec,
    pairs: list[Pair],
    expected: Sequence[float],
    tolerance: float,
) -> None:
    order = [(7 * no) % len(pairs) for no in range(len(pairs))]
    for start in range(0, len(pairs), 5):
        batch = order[start : start + 5]
        ours = margins(fine_model, plain_spec, [pairs[no] for no in batch])
        assert largest_difference(ours, [expected[no] for no in batch]) <= tolerance


def test_swapping_the_images_breaks_the_equality(
    fine_model: FineModel,
    plain_spec: ScorerSpec,
    content: Callable[..., LoadedContent],
    tolerance: float,
) -> None:
    one, other = content(picture=1), content(picture=2)
    ours = margins(fine_model, plain_spec, [(one, other), (other, one), (one, one)])
    assert min(abs(ours[0] - ours[1]), abs(ours[0] - ours[2])) > 100 * tolerance


def test_prompts_have_the_tokens_of_the_turn_tokenised_in_one_piece(
    fine_model: FineModel, plain_spec: ScorerSpec, tokenizer: Any, pairs: list[Pair]
) -> None:
    image_token = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    for pair in pairs:
        ours: list[int] = []
        for segment in fine_model.prepare(*pair, plain_spec).prompts[0].segments:
            ours += getattr(segment, "ids", None) or [image_token] * segment.length
        assert ours == library_inputs(tokenizer, plain_spec, pair)["input_ids"][0].tolist()


def test_positions_are_those_that_the_model_computes(
    fine_model: FineModel,
    plain_model: Any,
    plain_spec: ScorerSpec,
    tokenizer: Any,
    pairs: list[Pair],
) -> None:
    for pair in pairs:
        inputs = library_inputs(tokenizer, plain_spec, pair)
        expected, delta = plain_model.model.get_rope_index(
            inputs["input_ids"], inputs["mm_token_type_ids"], inputs.get("image_grid_thw")
        )
        segments = fine_model.prepare(*pair, plain_spec).prompts[0].segments
        ours, following = fine_model.family.positions(segments)
        assert torch.equal(ours, expected[:, 0])
        assert following == ours.shape[1] + int(delta)


def test_positions_of_a_suffix_continue_those_of_its_prefix(fine_model: FineModel) -> None:
    image = ImageSegment(b"key", (1, 4, 8), 8)
    segments = (TextSegment((1, 2, 3)), image, TextSegment((4,)), image, TextSegment((5, 6)))
    whole, end = fine_model.family.positions(segments)
    for cut in range(1, len(segments)):
        front, start = fine_model.family.positions(segments[:cut])
        back, last = fine_model.family.positions(segments[cut:], start)
        assert torch.equal(torch.cat([front, back], dim=1), whole)
        assert last == end


def test_the_model_that_scored_a_pair_keeps_nothing_of_it(
    fine_model: FineModel, plain_spec: ScorerSpec, pairs: list[Pair]
) -> None:
    first = margins(fine_model, plain_spec, pairs[:3])
    margins(fine_model, plain_spec, pairs[9:])
    assert margins(fine_model, plain_spec, pairs[:3]) == first


def test_threads_prepare_the_same_pairs_as_one(
    fine_model: FineModel, plain_spec: ScorerSpec, pairs: list[Pair]
) -> None:
    alone = [fine_model.prepare(*pair, plain_spec) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(lambda pair: fine_model.prepare(pair[0], pair[1], plain_spec), pairs * 3)
        )
    for one, other in zip(alone * 3, made, strict=True):
        assert one.prompts == other.prompts
        for image, same in zip(one.images, other.images, strict=True):
            assert torch.equal(image.pixels, same.pixels)
