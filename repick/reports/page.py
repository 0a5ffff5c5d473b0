"""A run's report as one file of HTML: no script, no other file, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repick.errors import NotInstalled
from repick.reports.gather import Report

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 200, 66, 30


@dataclass(frozen=True, slots=True)
class Line:
    """A plotted series: points of an SVG polyline (broken at gaps), and each value's dot."""

    name: str
    colour: str
    """Of the page's own, by name: it has another in the dark."""
    dashed: bool
    parts: Sequence[str]
    dots: Sequence[tuple[float, float, str]]


@dataclass(frozen=True, slots=True)
class Plot:
    lines: Sequence[Line]
    ticks: Sequence[tuple[float, str]]
    first: str
    last: str


def html(report: Report) -> str:
    """Raises NotInstalled (`no_jinja2`)."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as exc:
        raise NotInstalled("the report needs jinja2, as in repick[api]", code="no_jinja2") from exc
    environment = Environment(
        loader=PackageLoader("repick.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = lambda value: "–" if value is None else f"{value:.1%}"
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["seconds"] = _seconds
    environment.filters["reason"] = _reason
    template = environment.get_template("run.html.jinja")
    size = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "bottom": BOTTOM}
    return template.render(report=report, run=report.run, plot=plot(report), size=size)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds} s"


def _reason(one: Mapping[str, Any]) -> str:
    """What a reason says beside its code: a figure, a sentence, or nothing."""
    if "value" in one:
        return f"{one['value']:.3f}"
    if "queries_without_ranking" in one:
        return f"{one['queries_without_ranking']:,} of the queries without a ranking"
    return str(one.get("detail") or "")


def plot(report: Report) -> Plot | None:
    """Churn over the runs; None where fewer than two were compared."""
    past = report.history
    series = (
        ("documents that entered", "entered", False, [one.churn for one in past]),
        ("another first place", "first", True, [one.top1_churn for one in past]),
    )
    known = [value for *_, values in series for value in values if value is not None]
    if len([one for one in past if one.churn is not None]) < 2:
        return None
    top = max(0.05, *known)
    days = {one.tick.date() for one in past}
    form = "%Y-%m-%d" if len(days) == len(past) else "%Y-%m-%d %H:%M"
    labels = [one.tick.strftime(form) for one in past]
    step = (WIDTH - LEFT - 10) / max(1, len(past) - 1)

    def height(value: float) -> float:
        return round((HEIGHT - BOTTOM) - (HEIGHT - BOTTOM - 12) * value / top, 1)

    lines = [
        Line(
            name,
            colour,
            dashed,
            [
                " ".join(f"{x},{y}" for x, y, _ in part)
                for part in _parts(values, labels, step, height)
            ],
            [dot for part in _parts(values, labels, step, height) for dot in part],
        )
        for name, colour, dashed, values in series
    ]
    ticks = [(height(top * share), f"{top * share:.1%}") for share in (0, 0.5, 1)]
    return Plot(lines, ticks, labels[0], labels[-1])


def _parts(
    values: Sequence[float | None], labels: Sequence[str], step: float, height: object
) -> list[list[tuple[float, float, str]]]:
    """Runs of known values, each as (x, y, what it says)."""
    assert callable(height)
    parts: list[list[tuple[float, float, str]]] = [[]]
    for no, (value, label) in enumerate(zip(values, labels, strict=True)):
        if value is None:
            parts.append([])
        else:
            place = (round(LEFT + no * step, 1), height(value), f"{label}: {value:.1%}")
            parts[-1].append(place)
    return [part for part in parts if part]
