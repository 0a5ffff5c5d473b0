"""The order of a night's pairs changes how fast they are scored, and no score."""

from __future__ import annotations

from benchmarks.nightly_order import measure


def test_both_orders_give_the_same_scores() -> None:
    orders = measure(documents=4)
    assert orders.pairs == 40
    assert orders.largest_difference <= 1e-4
    assert orders.document_s > 0
    assert orders.query_s > 0
