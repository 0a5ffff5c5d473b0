"""How good probabilities are, and how good the orders that margins and coarse scores give."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from repick.calibration.labels import Label
from repick.calibration.maps import logistic
from repick.ranking import Candidate, Order, ranked
from repick.specs import Readout

BINS = 15
BLENDS = tuple(step / 20 for step in range(21))


@dataclass(frozen=True, slots=True)
class Quality:
    """Of probabilities, against labels: both are better when lower."""

    ece: float
    brier: float


@dataclass(frozen=True, slots=True)
class FirstHits:
    """R@1 over `queries`: the share whose first hit is relevant, by each order."""

    queries: int
    coarse: float
    fine: float
    blended: float


def quality(probabilities: Sequence[float], relevant: Sequence[bool]) -> Quality:
    return Quality(
        expected_calibration_error(probabilities, relevant), brier(probabilities, relevant)
    )


def expected_calibration_error(
    probabilities: Sequence[float], relevant: Sequence[bool], bins: int = BINS
) -> float:
    """Σ over bins of (its share of the pairs) · |mean probability − share that is relevant|.

    The bins have equal mass: pairs sorted by probability are cut into `bins` runs whose sizes
    differ by at most one. Pairs of one probability each count with the relevant share of them all,
    so that their order decides nothing. Raises ValueError without pairs.
    """
    pairs = sorted(zip(probabilities, relevant, strict=True))
    if not pairs:
        raise ValueError("there are no pairs")
    gaps = []
    for _, tied in groupby(pairs, key=lambda pair: pair[0]):
        same = list(tied)
        share = sum(label for _, label in same) / len(same)
        gaps += [probability - share for probability, _ in same]
    edges = [len(gaps) * no // bins for no in range(bins + 1)]
    runs = (gaps[first:last] for first, last in pairwise(edges))
    return math.fsum(abs(math.fsum(run)) for run in runs) / len(gaps)


def brier(probabilities: Sequence[float], relevant: Sequence[bool]) -> float:
    """Mean (probability − label)² (Brier, 1950)."""
    errors = ((p - label) ** 2 for p, label in zip(probabilities, relevant, strict=True))
    return math.fsum(errors) / len(relevant)


def base_rate_brier(relevant: Sequence[bool]) -> float:
    """The best that one probability for all pairs can reach: b(1 − b), b their relevant share."""
    share = sum(relevant) / len(relevant)
    return share * (1 - share)


def first_hits(labels: Iterable[Label], blend: float) -> FirstHits | None:
    """R@1 of the three orders; None where a pair has no coarse score."""
    queries = _candidates(labels)
    if queries is None or not queries:
        return None
    return FirstHits(
        len(queries),
        _first(queries, 1.0),
        _first(queries, 0.0),
        _first(queries, blend),
    )


def best_blend(labels: Iterable[Label]) -> float | None:
    """The λ of `BLENDS` with the highest R@1, the smallest of equals; None as in `first_hits`."""
    queries = _candidates(labels)
    if queries is None or not queries:
        return None
    return max(BLENDS, key=lambda blend: (_first(queries, blend), -blend))


Judged = Sequence[tuple[Candidate, bool]]


def _candidates(labels: Iterable[Label]) -> Mapping[str, Judged] | None:
    """Each query's pairs as the service ranks them, the coarse order first."""
    found: dict[str, list[Label]] = {}
    for one in labels:
        if one.coarse is None:
            return None
        found.setdefault(one.query, []).append(one)
    return {query: _judged(pairs) for query, pairs in found.items()}


def _judged(pairs: list[Label]) -> Judged:
    ordered = sorted(pairs, key=lambda one: -(one.coarse or 0.0))
    return [
        (
            Candidate(
                no, str(no), no, no + 1, one.coarse, score=logistic(one.margin), margin=one.margin
            ),
            one.relevant,
        )
        for no, one in enumerate(ordered)
    ]


def _first(queries: Mapping[str, Judged], blend: float) -> float:
    """The share of queries whose first hit is relevant: the very order of the service."""
    hits = 0
    for judged in queries.values():
        (first,) = ranked((one for one, _ in judged), Readout.CHOICE, Order(1, blend))
        hits += judged[first.item_id][1]
    return hits / len(queries)
