"""Ranking order (METHOD §2), legal moves of a job, fingerprints."""

from __future__ import annotations

from dataclasses import fields, replace
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repick.jobs import MOVES, JobState
from repick.ranking import Candidate, Order, failure, ranked
from repick.specs import EncoderSpec, Enhancement, LengthPolicy, Readout, ScorerSpec, fingerprint
from repick.store.jobs import chunks

SPEC = ScorerSpec("m", "f", "w", "t")


def candidate(item: int, margin: float | None, coarse: float, **more: object) -> Candidate:
    made = Candidate(item, f"item-{item}", item, item, coarse, score=0.5, margin=margin)
    return replace(made, **more)  # type: ignore[arg-type]


def test_margin_decides_then_coarse_score_then_item_id() -> None:
    found = [
        candidate(4, 1.0, 0.5),
        candidate(3, 1.0, 0.5),
        candidate(2, 1.0, 0.7),
        candidate(1, 2.0, 0.1),
    ]
    assert [one.item_id for one in ranked(found, Readout.CHOICE, Order(10))] == [1, 2, 3, 4]


def test_paper_readout_orders_by_truncated_score_entropy_and_coarse_rank() -> None:
    found = [
        candidate(1, None, 0.9, score=0.5, entropy=2.0),
        candidate(2, None, 0.8, score=0.5, entropy=1.0),
        candidate(3, None, 0.7, score=0.6, entropy=3.0),
        candidate(4, None, 0.6, score=0.5, entropy=1.0),
    ]
    assert [one.item_id for one in ranked(found, Readout.PAPER, Order(10))] == [3, 2, 4, 1]


def test_candidate_without_a_score_is_never_ranked() -> None:
    found = [candidate(1, 1.0, 0.5), replace(candidate(2, None, 0.5), score=None)]
    assert [one.item_id for one in ranked(found, Readout.CHOICE, Order(10))] == [1]


def test_score_without_a_margin_is_an_error_and_no_zero() -> None:
    with pytest.raises(ValueError, match="judged without a margin"):
        ranked([candidate(1, None, 0.5)], Readout.CHOICE, Order(10))


def test_blend_orders_by_standardised_cosine_and_margin() -> None:
    margins, cosines = [4.0, 1.0, -2.0, 0.5], [0.1, 0.6, 0.5, 0.65]
    found = [candidate(no, *both) for no, both in enumerate(zip(margins, cosines, strict=True))]
    z = [[(one - mean(values)) / pstdev(values) for one in values] for values in (cosines, margins)]
    for blend in (0.0, 0.2, 0.5, 0.8, 1.0):
        key = [blend * c + (1 - blend) * m for c, m in zip(*z, strict=True)]
        order = [one.item_id for one in ranked(found, Readout.CHOICE, Order(4, blend))]
        assert order == sorted(range(4), key=lambda no: -key[no])


def test_blend_of_values_that_do_not_differ_leaves_the_other_to_decide() -> None:
    equal = [candidate(no, float(-no), 0.1 + 0.2) for no in range(3)]
    order = ranked(equal, Readout.CHOICE, Order(3, 0.99))
    assert [one.item_id for one in order] == [0, 1, 2]
    assert ranked([], Readout.CHOICE, Order(3, 0.5)) == []


@pytest.mark.parametrize("large", [1e160, 1e308])
def test_blend_takes_a_callers_scores_however_large(large: float) -> None:
    coarse = [large, -large, large / 2, 0.0]
    found = [candidate(item, 0.1 * item, one) for item, one in enumerate(coarse)]
    like = [candidate(item, 0.1 * item, one / large) for item, one in enumerate(coarse)]
    orders = [
        [one.item_id for one in ranked(of, Readout.CHOICE, Order(4, 0.5))] for of in (found, like)
    ]
    assert orders[0] == orders[1]


def test_blend_without_a_coarse_score_is_an_error_and_no_zero() -> None:
    found = [replace(candidate(1, 1.0, 0.5), coarse_score=None)]
    with pytest.raises(ValueError, match="without a coarse score"):
        ranked(found, Readout.CHOICE, Order(1, 0.5))


def test_hits_under_the_least_score_are_left_out_before_the_cut() -> None:
    found = [candidate(no, float(no), 0.5, score=no / 10) for no in range(10)]
    order = ranked(found, Readout.CHOICE, Order(3, min_score=0.8))
    assert [one.item_id for one in order] == [9, 8]


@given(st.lists(st.floats(-20, 20), max_size=30), st.randoms())
def test_order_does_not_depend_on_the_order_of_candidates(
    margins: list[float], random: object
) -> None:
    found = [candidate(no, margin, 0.5) for no, margin in enumerate(margins)]
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ranked(found, Readout.CHOICE, Order(99)) == ranked(shuffled, Readout.CHOICE, Order(99))


def test_query_fails_when_a_pair_was_never_judged() -> None:
    found = [candidate(1, 1.0, 0.5), replace(candidate(2, None, 0.5), score=None)]
    error = failure(found)
    assert error is not None
    assert error["code"] == "scoring_failed"
    assert failure([candidate(1, 1.0, 0.5)]) is None
    assert failure([]) is None


def test_final_states_are_never_left_and_every_other_can_end() -> None:
    final = {state for state in JobState if state.final}
    assert final == {
        JobState.SUCCEEDED,
        JobState.PARTIAL,
        JobState.FAILED,
        JobState.CANCELLED,
    }
    for state in set(JobState) - final:
        assert JobState.CANCELLED in MOVES[state]


def test_first_fired_layer_is_the_first_pass_that_fired() -> None:
    assert candidate(1, 1.0, 0.5, enhanced_at=(None, 6)).first_enhanced_at == 6
    assert candidate(1, 1.0, 0.5, enhanced_at=(None,)).first_enhanced_at is None


@pytest.mark.parametrize("name", [field.name for field in fields(ScorerSpec)])
def test_every_field_of_a_scorer_changes_its_fingerprint(name: str) -> None:
    other: dict[str, object] = {
        "readout": Readout.RATING,
        "enhancement": Enhancement(alpha=0.3),
        "images": replace(SPEC.images, max_pixels=1),
        "untrained": True,
        "max_tokens": 1,
        "length_policy": LengthPolicy.TRUNCATE,
        "code_version": 99,
    }
    changed = replace(SPEC, **{name: other.get(name, "other")})  # type: ignore[arg-type]
    assert fingerprint(changed) != fingerprint(SPEC)


def test_encoder_and_scorer_never_share_a_fingerprint() -> None:
    assert fingerprint(EncoderSpec("e", "f", "w", "t", 8)) != fingerprint(SPEC)
    assert fingerprint(SPEC) == fingerprint(ScorerSpec("m", "f", "w", "t"))


@given(st.integers(0, 500), st.integers(1, 70))
def test_chunks_cover_each_number_once(count: int, size: int) -> None:
    numbers = [n for first, last in chunks(count, size) for n in range(first, last + 1)]
    assert numbers == list(range(count))
    assert all(last - first < size for first, last in chunks(count, size))


def test_candidate_without_a_coarse_score_loses_a_tie_also_to_a_negative_one() -> None:
    found = [replace(candidate(1, 1.0, 0.0), coarse_score=None), candidate(2, 1.0, -0.4)]
    assert [one.item_id for one in ranked(found, Readout.CHOICE, Order(10))] == [2, 1]
