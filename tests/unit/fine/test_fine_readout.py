"""Readouts against their formulas written out in double precision (METHOD §2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repick.content import LoadedContent
from repick.errors import ModelError
from repick.specs import Readout
from worker.fine.readout import (
    MAX_MARGIN,
    Labels,
    Reading,
    find_labels,
    judge,
    read,
    variants,
    vocabulary_logits,
)
from worker.fine.scorer import FineModel
from worker.fine.tokens import PlainTokenizer

LABELS = {
    Readout.CHOICE: Labels(("A", "B"), ((3, 7), (4,))),
    Readout.YES_NO: Labels(("Yes", "No"), ((1, 2, 3), (8, 9))),
    Readout.TRUE_FALSE: Labels(("True", "False"), ((11,), (12,))),
    Readout.RIGHT_WRONG: Labels(("Right", "Wrong"), ((11, 13), (12, 14))),
    Readout.PAPER: Labels(("True", "False"), ((11, 13), (12, 14))),
    Readout.RATING: Labels(tuple("01234"), ((20,), (21,), (22,), (23,), (24, 25))),
}


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(6, 40, generator=torch.Generator().manual_seed(3)) * 3


def written_out(row: Sequence[float], labels: Labels) -> tuple[list[float], list[float], float]:
    """Per label its summed weight and log of it, and the entropy; all in double precision."""
    total = sum(math.exp(value) for value in row)
    shares = [math.exp(value) / total for value in row]
    weights = [sum(math.exp(row[no]) for no in ids) for ids in labels.ids]
    entropy = -sum(share * math.log(share) for share in shares)
    return [math.log(weight) for weight in weights], [w / total for w in weights], entropy


def readings(logits: torch.Tensor, labels: Labels) -> list[Reading]:
    return [Reading.of(row, -1) for row in read(logits, labels).tolist()]


@pytest.mark.parametrize("readout", list(LABELS))
def test_a_readout_equals_its_formula(logits: torch.Tensor, readout: Readout) -> None:
    labels = LABELS[readout]
    for reading, row in zip(readings(logits, labels), logits.double().tolist(), strict=True):
        score = judge(readout, [reading])
        label, probability, entropy = written_out(row, labels)
        assert score.label_logits[0] == pytest.approx(label, abs=1e-5)
        assert score.label_mass == pytest.approx(sum(probability), rel=1e-5)
        assert score.entropy == pytest.approx(entropy, rel=1e-5)
        margin, value = verdict(readout, label, probability)
        assert score.margin == (None if margin is None else pytest.approx(margin, abs=2e-5))
        assert score.score == pytest.approx(value, abs=1e-5)


def verdict(
    readout: Readout, label: list[float], probability: list[float]
) -> tuple[float | None, float]:
    if readout is Readout.PAPER:
        return None, int(probability[0] * 100) / 100
    if readout is Readout.RATING:
        total = sum(math.exp(value) for value in label)
        score = sum(no * math.exp(value) / total for no, value in enumerate(label)) / 4
        return math.log(score / (1 - score)), score
    margin = label[0] - label[1]
    return margin, 1 / (1 + math.exp(-margin))


def reading(*logits: float, mass: float = 0.5, entropy: float = 1.0) -> Reading:
    return Reading(logits, mass, entropy, None)


def test_a_balanced_choice_takes_the_means_of_both_orders() -> None:
    first = Reading((2.0, -1.0), 0.6, 1.0, 7)
    second = Reading((0.5, 1.0), 0.2, 3.0, None)
    score = judge(Readout.CHOICE_BALANCED, [first, second])
    assert score.margin == pytest.approx((3.0 - 0.5) / 2)
    assert score.score == pytest.approx(1 / (1 + math.exp(-1.25)))
    assert [score.label_mass, score.entropy] == pytest.approx([0.4, 2.0])
    assert score.enhanced_at == (7, None)
    assert score.label_logits == ((2.0, -1.0), (0.5, 1.0))


def test_the_second_order_of_a_balanced_choice_counts_b_as_the_match(
    fine_model: FineModel, content: Callable[..., LoadedContent]
) -> None:
    """Its two passes' logits, positive label first, are those of the two questions by hand."""
    spec = next(one for one in fine_model.specs if one.readout is Readout.CHOICE_BALANCED)
    pair = fine_model.prepare(content("a circle"), content(picture=1), spec)
    (score,) = fine_model.score([pair])
    one, other = find_labels(Readout.CHOICE_BALANCED, encoder(fine_model))
    assert (one.words, other.words) == (("A", "B"), ("B", "A"))
    assert other.ids == one.ids[::-1]
    first, second = score.label_logits
    assert score.margin == pytest.approx(((first[0] - first[1]) + (second[0] - second[1])) / 2)


def encoder(model: FineModel) -> Callable[[str], tuple[int, ...]]:
    return PlainTokenizer(model.family.tokenizer.backend_tokenizer).encode


@pytest.mark.parametrize(("share", "expected"), [(0.999, 0.99), (0.29, 0.28), (0.004, 0.0)])
def test_the_papers_score_is_truncated_and_not_rounded(share: float, expected: float) -> None:
    odds = math.log(share / (1 - share)) - 1e-4
    score = judge(Readout.PAPER, [reading(odds, 0.0, mass=1.0)])
    assert (score.margin, score.score) == (None, expected)


@pytest.mark.parametrize(("digit", "margin"), [(0, -MAX_MARGIN), (4, MAX_MARGIN)])
def test_a_ratings_margin_is_clipped(digit: int, margin: float) -> None:
    logits = [200.0 if no == digit else -200.0 for no in range(5)]
    assert judge(Readout.RATING, [reading(*logits)]).margin == margin


@given(st.lists(st.floats(-60, 60), min_size=5, max_size=5))
def test_a_ratings_margin_orders_as_its_score(logits: list[float]) -> None:
    score = judge(Readout.RATING, [reading(*logits)])
    assert score.margin is not None
    assert -MAX_MARGIN <= score.margin <= MAX_MARGIN
    assert 0 <= score.score <= 1
    assert 1 / (1 + math.exp(-score.margin)) == pytest.approx(score.score, abs=3e-9)


@given(st.lists(st.floats(-800, 800), min_size=2, max_size=9, unique=True))
def test_a_larger_margin_never_has_a_smaller_score(values: list[float]) -> None:
    scores = [judge(Readout.YES_NO, [reading(value, 0.0)]).score for value in sorted(values)]
    assert all(one <= other for one, other in pairwise(scores))


def test_entropy_is_finite_where_probabilities_underflow() -> None:
    row = torch.tensor([[500.0, -500.0, *[-300.0] * 38]])
    (found,) = readings(row, LABELS[Readout.CHOICE])
    assert found.entropy == 0.0
    assert found.label_mass == 0.0


def test_a_mass_of_one_is_not_exceeded_by_rounding() -> None:
    row = torch.full((1, 40), -400.0)
    row[0, [3, 4, 7]] = torch.tensor([0.3, 0.1, 0.2])
    (found,) = readings(row, LABELS[Readout.CHOICE])
    assert found.label_mass <= 1.0 == pytest.approx(found.label_mass)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_an_error_and_no_score(value: float) -> None:
    with pytest.raises(ModelError, match="not finite"):
        Reading.of([value, 0.0, 0.5, 1.0], -1)


def test_logits_are_float32_of_bfloat16_states_whatever_the_chunks() -> None:
    generator = torch.Generator().manual_seed(5)
    head = torch.randn(20_000, 8, generator=generator).bfloat16()
    rows = torch.randn(2, 8, generator=generator).bfloat16()
    found = vocabulary_logits(rows, head)
    assert found.dtype is torch.float32
    exact = rows.double() @ head.double().T
    assert (found.double() - exact).abs().max() < 1e-5
    assert (exact.bfloat16().double() - exact).abs().max() > 1e-3


def test_variants_are_a_words_cases_and_a_letters_own_both_with_and_without_space() -> None:
    assert variants("Yes") == ("Yes", "yes", "YES", " Yes", " yes", " YES")
    assert variants("A") == ("A", " A")
    assert variants("0") == ("0", " 0")


@pytest.mark.parametrize("readout", list(Readout))
def test_label_tokens_are_exactly_the_vocabularys_single_token_variants(
    fine_model: FineModel, tokenizer: Any, readout: Readout
) -> None:
    vocabulary = tokenizer.get_vocab()
    for labels in find_labels(readout, encoder(fine_model)):
        for word, ids in zip(labels.words, labels.ids, strict=True):
            forms = {word} if len(word) == 1 else {word, word.lower(), word.upper()}
            names = [form.replace(" ", "Ġ") for one in forms for form in (one, f" {one}")]
            assert set(ids) == {vocabulary[name] for name in names if name in vocabulary}


def test_a_label_without_a_single_token_is_refused() -> None:
    with pytest.raises(ModelError, match="'Yes': leave yes_no out of REPICK_READOUTS"):
        find_labels(Readout.YES_NO, lambda text: tuple(range(len(text))))


def test_labels_that_share_a_token_are_refused() -> None:
    with pytest.raises(ModelError, match="one token to two"):
        find_labels(Readout.TRUE_FALSE, lambda _: (0,))
