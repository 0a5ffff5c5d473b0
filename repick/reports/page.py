"""A run's report as one file of HTML: no script, no other file, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from repick.errors import NotInstalled
from repick.reports.gather import Report

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 180, 44, 24


@dataclass(frozen=True, slots=True)
class Line:
    """A plotted series: points of an SVG polyline (broken at gaps), and each value's dot."""

    name: str
    colour: str
    parts: Sequence[str]
    dots: Sequence[tuple[float, float, str]]


@dataclass(frozen=True, slots=True)
class Plot:
    lines: Sequence[Line]
    ticks: Sequence[tuple[float, str]]
    first: datetime
    last: datetime


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
    template = environment.get_template("run.html.jinja")
    size = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "bottom": BOTTOM}
    return template.render(report=report, run=report.run, plot=plot(report), size=size)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    minutes, seconds = divmod(value, 60)
    return f"{int(minutes)} min {seconds:.0f} s" if minutes else f"{seconds:.1f} s"


def plot(report: Report) -> Plot | None:
    """Churn over the runs; None where fewer than two were compared."""
    past = report.history
    series = (
        ("documents that entered", "#1b7f4d", [one.churn for one in past]),
        ("another first place", "#8a5a00", [one.top1_churn for one in past]),
    )
    known = [value for _, _, values in series for value in values if value is not None]
    if len([one for one in past if one.churn is not None]) < 2:
        return None
    top = max(0.05, *known)
    labels = [f"{one.tick:%Y-%m-%d}" for one in past]
    step = (WIDTH - LEFT - 10) / max(1, len(past) - 1)

    def height(value: float) -> float:
        return round((HEIGHT - BOTTOM) - (HEIGHT - BOTTOM - 12) * value / top, 1)

    lines = [
        Line(
            name,
            colour,
            [
                " ".join(f"{x},{y}" for x, y, _ in part)
                for part in _parts(values, labels, step, height)
            ],
            [dot for part in _parts(values, labels, step, height) for dot in part],
        )
        for name, colour, values in series
    ]
    ticks = [(height(top * share), f"{top * share:.1%}") for share in (0, 0.5, 1)]
    return Plot(lines, ticks, past[0].tick, past[-1].tick)


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
