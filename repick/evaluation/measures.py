"""Figures of each query, by ir-measures; nothing here is a metric of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from repick.errors import Unavailable

MEASURES: Mapping[str, str] = {
    "R@1": "Success@1",
    "R@5": "Success@5",
    "R@10": "Success@10",
    "nDCG@10": "nDCG@10",
    "MRR": "RR",
    "MAP": "AP",
}
"""Our name, and ir-measures'. R@k is, as in image-text retrieval, whether any relevant document is
among the first k; with one relevant document a query that is recall."""

Qrels = Mapping[str, Mapping[str, int]]
Orders = Mapping[str, Sequence[str]]
"""Document ids of each query, the best first."""
PerQuery = Mapping[str, Mapping[str, float]]
"""By measure, then by query: a value of 0 to 1."""


def per_query(qrels: Qrels, orders: Orders, measures: Mapping[str, str] = MEASURES) -> PerQuery:
    """Every judged query has a value; one without an order has 0. Raises Unavailable."""
    try:
        import ir_measures
    except ImportError as exc:
        detail = "evaluating needs ir-measures: install repick[eval]"
        raise Unavailable(detail, code="no_ir_measures") from exc
    names = {ir_measures.parse_measure(value): name for name, value in measures.items()}
    # Scores that fall with the place keep the order: scores of ties would be sorted by id.
    run = {
        query: {document: float(-place) for place, document in enumerate(order)}
        for query, order in orders.items()
        if order
    }
    found = {name: dict.fromkeys(qrels, 0.0) for name in measures}
    for one in ir_measures.iter_calc(list(names), {q: dict(j) for q, j in qrels.items()}, run):
        if one.query_id in qrels:
            found[names[one.measure]][one.query_id] = float(one.value)
    return found


def means(values: PerQuery) -> dict[str, float]:
    """The mean of each measure over its queries."""
    return {name: fmean(each.values()) for name, each in values.items()}
