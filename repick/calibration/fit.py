"""Fits a map on some of the queries and measures it on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from repick.calibration.figures import (
    FirstHits,
    Quality,
    base_rate_brier,
    best_blend,
    first_hits,
    quality,
)
from repick.calibration.labels import Label
from repick.calibration.maps import Isotonic, Map, Method, Platt, as_json, logistic, parse
from repick.errors import InvalidField, Unavailable


@dataclass(frozen=True, slots=True)
class Report:
    """A fitted map and its figures, all of them over queries that it was not fitted on.

    `before` is of σ(margin). `blend` is the λ with the best R@1 on the fitted queries; it and both
    R@1 are None where a pair has no coarse score. `all_first_hits` is over every labelled query.
    """

    map: Map
    seed: int
    fitted_pairs: int
    fitted_queries: int
    measured_pairs: int
    measured_queries: int
    before: Quality
    after: Quality
    base_rate_brier: float
    blend: float | None
    first_hits: FirstHits | None
    all_first_hits: FirstHits | None
    warnings: tuple[str, ...]


def calibrate(
    labels: Sequence[Label],
    method: Method = Method.ISOTONIC,
    held_out: float = 0.5,
    seed: int = 0,
) -> Report:
    """Raises InvalidField where either part lacks relevant or irrelevant pairs.

    `held_out` is the share of the queries that the map is measured on. Raises Unavailable without
    scikit-learn.
    """
    fitted, measured = split(labels, held_out, seed)
    for name, part in (("fitted", fitted), ("measured", measured)):
        if len({one.relevant for one in part}) < 2:
            detail = f"the {name} queries need relevant pairs and others: more labels are needed"
            raise InvalidField("labels", detail, code="one_class")
    one = fit(fitted, method)
    relevant = [label.relevant for label in measured]
    blend = best_blend(fitted)
    first = None if blend is None else first_hits(measured, blend)
    every = None if blend is None else first_hits(labels, blend)
    before = quality([logistic(label.margin) for label in measured], relevant)
    after = quality([one.probability(label.margin) for label in measured], relevant)
    base = base_rate_brier(relevant)
    return Report(
        map=one,
        seed=seed,
        fitted_pairs=len(fitted),
        fitted_queries=len({label.query for label in fitted}),
        measured_pairs=len(measured),
        measured_queries=len({label.query for label in measured}),
        before=before,
        after=after,
        base_rate_brier=base,
        blend=blend,
        first_hits=first,
        all_first_hits=every,
        warnings=_warnings(every, before, after, base),
    )


def split(labels: Sequence[Label], held_out: float, seed: int) -> tuple[list[Label], list[Label]]:
    """Labels to fit and labels to measure; no query is in both. Raises InvalidField."""
    try:
        from sklearn.model_selection import GroupShuffleSplit
    except ImportError as exc:
        raise _no_library() from exc
    if len({one.query for one in labels}) < 2:
        raise InvalidField("labels", "at least two queries are needed", code="too_few_queries")
    splitter = GroupShuffleSplit(n_splits=1, test_size=held_out, random_state=seed)
    ((first, second),) = splitter.split(labels, groups=[one.query for one in labels])
    return [labels[no] for no in first], [labels[no] for no in second]


def fit(labels: Sequence[Label], method: Method) -> Map:
    """The map of all these labels; raises InvalidField where no such map is monotone."""
    one = _isotonic(labels) if method is Method.ISOTONIC else _platt(labels)
    return parse(as_json(one), "labels")  # holds for what is fitted as for what is sent


def _isotonic(labels: Sequence[Label]) -> Isotonic:
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError as exc:
        raise _no_library() from exc
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    model.fit([one.margin for one in labels], [float(one.relevant) for one in labels])
    return Isotonic(tuple(model.X_thresholds_.tolist()), tuple(model.y_thresholds_.tolist()))


def _platt(labels: Sequence[Label]) -> Platt:
    """Logistic regression on Platt's smoothed targets, which stay finite for separable labels.

    A target t between 0 and 1 is a pair that counts t times as relevant and 1 − t times as not.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as exc:
        raise _no_library() from exc
    positive = sum(one.relevant for one in labels)
    high, low = (positive + 1) / (positive + 2), 1 / (len(labels) - positive + 2)
    targets = [high if one.relevant else low for one in labels]
    model = LogisticRegression(C=1e10, tol=1e-8, max_iter=10_000)
    model.fit(
        [[one.margin] for one in labels] * 2,
        [1] * len(labels) + [0] * len(labels),
        sample_weight=targets + [1 - target for target in targets],
    )
    return Platt(float(model.coef_[0][0]), float(model.intercept_[0]))


def _warnings(
    every: FirstHits | None, before: Quality, after: Quality, base: float
) -> tuple[str, ...]:
    found = []
    if every is not None and every.fine < every.coarse:
        found.append(
            f"reranking does harm here: R@1 falls from {100 * every.coarse:.1f} (coarse) to"
            f" {100 * every.fine:.1f} (fine); use the coarse order, a blend, or another scorer"
        )
    if after.ece > before.ece:
        found.append("the map makes the expected calibration error larger: do not store it")
    if after.brier >= base:
        found.append("the probabilities say no more than the share of relevant pairs does")
    return tuple(found)


def _no_library() -> Unavailable:
    return Unavailable("calibrating needs scikit-learn: install repick[eval]", code="no_sklearn")
