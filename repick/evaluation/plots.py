"""The report's plots, as SVG."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from repick.calibration.figures import BINS
from repick.calibration.maps import logistic
from repick.errors import Unavailable
from repick.evaluation.dataset import Dataset
from repick.evaluation.measures import means, per_query
from repick.evaluation.results import Scored

_COARSE, _FINE = "#8a8f98", "#1b7f4d"


def figures(one: Scored, dataset: Dataset, k: int) -> Iterator[bytes]:
    """Recall against k, gains with intervals, rank moves, calibration, and what it cost."""
    yield _drawn("R@k", lambda axes: _recall(axes, one, dataset, k))
    yield _drawn("gain of fine over coarse, 95 % intervals", lambda axes: _gains(axes, one))
    yield _drawn("rank of the first relevant document", lambda axes: _moves(axes, one))
    yield _drawn("calibration of the score", lambda axes: _calibration(axes, one, dataset))
    yield _drawn("pairs a query", lambda axes: _cost(axes, one))


def _drawn(title: str, draw: Any) -> bytes:
    try:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise Unavailable("the report needs repick[eval]", code="no_matplotlib") from exc
    figure = Figure(figsize=(4.2, 3.1), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    target = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(target)  # type: ignore[no-untyped-call]
    return target.getvalue()


def _recall(axes: Any, one: Scored, dataset: Dataset, k: int) -> None:
    depths = sorted({depth for depth in (1, 2, 3, 5, 10, 20, 50, 100, k) if depth <= k})
    measures = {str(depth): f"Success@{depth}" for depth in depths}
    for name, orders, colour in (
        ("coarse", one.asked.coarse(), _COARSE),
        ("fine", one.asked.fine(), _FINE),
    ):
        found = means(per_query(dataset.qrels, orders, measures))
        axes.plot(depths, list(found.values()), marker="o", color=colour, label=name)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("k", fontsize=8)
    axes.legend(fontsize=8)


def _gains(axes: Any, one: Scored) -> None:
    names = list(one.gains)[::-1]
    gains = [one.gains[name] for name in names]
    values = [gain.mean for gain in gains]
    spread = [
        [max(0.0, gain.mean - gain.low) for gain in gains],
        [max(0.0, gain.high - gain.mean) for gain in gains],
    ]
    axes.barh(names, values, xerr=spread, color=_FINE, alpha=0.7, capsize=3)
    axes.axvline(0, color="black", linewidth=0.8)


def _moves(axes: Any, one: Scored) -> None:
    """By reciprocal ranks, of the queries whose relevant document was a candidate."""
    pairs = [
        (1 / one.coarse["MRR"][query], 1 / one.fine["MRR"][query])
        for query in one.coarse["MRR"]
        if one.coarse["MRR"][query] > 0 and one.fine["MRR"][query] > 0
    ]
    if pairs:
        before, after = zip(*pairs, strict=True)
        axes.scatter(before, after, s=14, alpha=0.35, color=_FINE)
        top = max(*before, *after)
        axes.plot([1, top], [1, top], color=_COARSE, linewidth=0.8)
    axes.set_xlabel("coarse", fontsize=8)
    axes.set_ylabel("fine", fontsize=8)


def _calibration(axes: Any, one: Scored, dataset: Dataset) -> None:
    """The stored calibration's probability where there is one, σ(margin) otherwise."""
    pairs = sorted(
        (
            logistic(hit.margin) if hit.probability is None else hit.probability,
            hit.id in dataset.relevant(query),
        )
        for query, hits in one.asked.hits.items()
        for hit in hits
        if hit.margin is not None
    )
    edges = [len(pairs) * no // BINS for no in range(BINS + 1)]
    bins = [pairs[a:b] for a, b in pairwise(edges) if b > a]
    said = [sum(p for p, _ in each) / len(each) for each in bins]
    true = [sum(right for _, right in each) / len(each) for each in bins]
    axes.plot([0, 1], [0, 1], color=_COARSE, linewidth=0.8)
    axes.plot(said, true, marker="o", color=_FINE)
    axes.set_xlabel("said", fontsize=8)
    axes.set_ylabel("relevant", fontsize=8)


def _cost(axes: Any, one: Scored) -> None:
    asked, queries = one.asked, len(one.asked.hits)
    scored = asked.pairs - asked.reused
    axes.bar(["scored", "from the ledger"], [scored / queries, asked.reused / queries], color=_FINE)
    label = f"{asked.seconds / queries:.3f} s a query, start to end"
    axes.set_xlabel(label, fontsize=8)
