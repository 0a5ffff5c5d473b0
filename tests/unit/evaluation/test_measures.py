"""Measures of ir-measures under our names, against figures worked out by hand."""

from __future__ import annotations

import math

import pytest

from repick.evaluation.bootstrap import paired
from repick.evaluation.measures import means, per_query

QRELS = {"one": {"a": 1}, "two": {"b": 1, "c": 1}, "lost": {"z": 1}}
ORDERS = {"one": ["x", "a"], "two": ["b", "x", "c"]}


def test_every_measure_of_every_query() -> None:
    found = per_query(QRELS, ORDERS)
    assert found["R@1"] == {"one": 0, "two": 1, "lost": 0}
    assert found["R@5"] == {"one": 1, "two": 1, "lost": 0}
    assert found["MRR"] == {"one": 0.5, "two": 1, "lost": 0}
    assert found["MAP"] == pytest.approx({"one": 0.5, "two": (1 + 2 / 3) / 2, "lost": 0})
    ideal = 1 + 1 / math.log2(3)
    assert found["nDCG@10"] == pytest.approx(
        {"one": 1 / math.log2(3), "two": (1 + 1 / 2) / ideal, "lost": 0}
    )
    assert means(found)["MRR"] == 0.5


def test_the_order_decides_and_not_the_ids() -> None:
    qrels = {"q": {"z": 1}}
    assert per_query(qrels, {"q": ["z", "a"]})["R@1"] == {"q": 1}
    assert per_query(qrels, {"q": ["a", "z"]})["R@1"] == {"q": 0}


def test_a_gain_of_every_query_alike_has_no_spread() -> None:
    gain = paired({"a": 0.0, "b": 0.5}, {"a": 0.25, "b": 0.75})
    assert (gain.mean, gain.low, gain.high) == (0.25, 0.25, 0.25)
    assert gain.p == pytest.approx(2 / 10_001)


def test_the_interval_is_that_of_the_binomial() -> None:
    """300 of 1,000 queries gain 1: the mean's standard error is √(0.3 · 0.7 / 1000)."""
    first = {str(no): 0.0 for no in range(1000)}
    second = {str(no): float(no < 300) for no in range(1000)}
    gain, error = paired(first, second), math.sqrt(0.3 * 0.7 / 1000)
    assert gain.low == pytest.approx(0.3 - 1.96 * error, abs=0.003)
    assert gain.high == pytest.approx(0.3 + 1.96 * error, abs=0.003)


def test_no_difference_is_no_evidence_and_a_seed_repeats() -> None:
    first = {str(no): float(no % 2) for no in range(50)}
    assert paired(first, first).p == 1
    second = {str(no): float(no % 3 == 0) for no in range(50)}
    assert paired(first, second) == paired(first, second)


def test_other_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="same queries"):
        paired({"a": 1.0}, {"b": 1.0})
