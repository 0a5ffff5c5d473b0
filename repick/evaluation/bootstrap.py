"""A mean difference with its interval and p, by resampling the same queries of two orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Gain:
    """`second − first`: its mean, its 95 % percentile interval, and a two-sided p."""

    mean: float
    low: float
    high: float
    p: float


def paired(
    first: Mapping[str, float],
    second: Mapping[str, float],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Gain:
    """Paired bootstrap over queries (Efron and Tibshirani 1993, ch. 13 and 16).

    p is twice the smaller share of resampled means on either side of zero, each counted with one
    more, so that it is never 0. Raises ValueError unless both have the same queries, at least one.
    """
    if not first or first.keys() != second.keys():
        raise ValueError("both orders need the same queries")
    gains = np.array([second[query] - first[query] for query in first])
    rng, found = np.random.default_rng(seed), np.empty(resamples)
    step = max(1, _AT_ONCE // len(gains))
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        drawn = rng.integers(0, len(gains), (stop - start, len(gains)))
        found[start:stop] = gains[drawn].mean(1)
    low, high = np.percentile(found, (2.5, 97.5))
    side = min((found <= 0).sum(), (found >= 0).sum())
    p = min(1.0, 2 * (int(side) + 1) / (resamples + 1))
    return Gain(float(gains.mean()), float(low), float(high), p)
