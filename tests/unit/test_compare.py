"""Diffs of orders against independent computations: scipy's τ, and what the library rbo gave.

The library itself wants a numpy that is too old to be installed beside ours.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from repick.compare import Order, Tally, diff, kendall_tau, rank_biased_overlap

ORDERS = st.lists(st.sampled_from([f"d{no}" for no in range(30)]), unique=True, max_size=20)


def order(ids: str, scores: list[float] | None = None, contents: list[int] | None = None) -> Order:
    return Order(
        list(ids), scores or [1 - no / 10 for no in range(len(ids))], contents or [*map(ord, ids)]
    )


@given(ORDERS, ORDERS)
def test_tau_equals_scipys_with_lacking_documents_tied_below(
    before: list[str], after: list[str]
) -> None:
    union = sorted({*before, *after})
    old = [before.index(one) if one in before else len(before) for one in union]
    new = [after.index(one) if one in after else len(after) for one in union]
    found = kendall_tau(before, after)
    if not before or not after or len(union) < 2:
        assert found is None
        return
    expected = kendalltau(old, new, variant="b").statistic
    if math.isnan(expected):
        assert found is None
    else:
        assert found == pytest.approx(expected, abs=1e-12)


CASES = json.loads(Path(__file__).with_name("rbo_cases.json").read_text())["cases"]


@pytest.mark.parametrize(("before", "after", "expected"), CASES)
def test_rbo_equals_the_librarys(before: str, after: str, expected: float) -> None:
    one, other = before.split(), after.split()
    assert rank_biased_overlap(one, other) == pytest.approx(expected, abs=1e-9)
    assert rank_biased_overlap(other, one) == pytest.approx(expected, abs=1e-9)


def test_known_ends_of_both_scales() -> None:
    assert kendall_tau("abcde", "abcde") == 1
    assert kendall_tau("abcde", "edcba") == -1
    assert rank_biased_overlap("abcde", "abcde") == pytest.approx(1)
    assert rank_biased_overlap("abc", "xyz") == 0
    disjoint = kendall_tau("abc", "xyz")
    assert disjoint is not None
    assert disjoint < 0


def test_diff_says_what_entered_left_moved_and_was_rescored() -> None:
    before = order("abcd", [0.9, 0.8, 0.7, 0.6], [1, 2, 3, 4])
    after = order("bace", [0.95, 0.9, 0.7, 0.5], [2, 1, 30, 5])
    found = diff("q", before, after)
    assert found.entered == {"e": 4}
    assert found.left == {"d": 4}
    moves = {one.id: (one.before, one.after) for one in found.changed}
    assert moves == {"b": (2, 1), "a": (1, 2), "c": (3, 3)}
    changes = {one.id: one.score_change for one in found.changed}
    assert changes == pytest.approx({"b": 0.15, "a": 0.0, "c": 0.0})
    assert [one.id for one in found.changed if one.content_changed] == ["c"]
    assert (found.kept, found.churn, found.top1_changed, found.same) == (3, 0.25, True, False)


def test_equal_orders_are_the_same_and_empty_ones_too() -> None:
    found = diff("q", order("abc"), order("abc"))
    assert (found.same, found.tau, found.churn, found.top1_changed) == (True, 1.0, 0.0, False)
    assert found.changed == []
    assert diff("q", order(""), order("")).same
    emptied = diff("q", order("ab"), order(""))
    assert (emptied.churn, emptied.tau, emptied.rbo, emptied.same) == (1.0, None, 0.0, False)


def test_summary_over_queries() -> None:
    tally = Tally()
    tally.add(diff("same", order("abcd"), order("abcd")))
    tally.add(diff("swap", order("abcd"), order("bacd")))
    tally.add(diff("new", order("abcd"), order("xabc")))
    tally.only_after = 2
    found = tally.summary()
    assert (found.queries, found.unchanged, found.only_after) == (3, 1, 2)
    assert (found.entered, found.left, found.moved) == (1, 1, 2 + 3)
    assert found.churn == pytest.approx(0.25 / 3)
    assert found.top1_churn == pytest.approx(2 / 3)
    assert found.least_alike == ["new", "swap"]
    first = found.movers[0]
    assert (first.id, first.places, first.entered, first.left) == ("x", 4, 1, 0)
    by_id = {one.id: one for one in found.movers}
    assert (by_id["d"].places, by_id["d"].left) == (1, 1)
    assert (by_id["a"].places, by_id["a"].queries) == (2, 2)


def test_summary_of_nothing_has_no_figures() -> None:
    found = Tally().summary()
    assert (found.queries, found.churn, found.tau_mean, found.movers) == (0, None, None, [])
