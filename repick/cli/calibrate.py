"""repick calibrate: from labels to a probability, measured on queries it was not fitted on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from repick.calibration import Method, as_json
from repick.cli.connect import AsJson, Key, Url, client
from repick.cli.output import console, errors, print_json
from repick.client import Client, Job
from repick.errors import InvalidField

if TYPE_CHECKING:
    from repick.calibration.fit import Report
    from repick.calibration.labels import Label

Labels = Annotated[
    Path | None,
    typer.Argument(
        help='JSON lines: {"query", "margin", "relevant", "coarse"?}.', exists=True, dir_okay=False
    ),
]


def calibrate(
    labels: Labels = None,
    job: Annotated[
        list[str] | None, typer.Option(help="A job's id, instead of labels; may be repeated.")
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(help="With --job: BEIR's TSV of what is relevant.", exists=True),
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(help="To store for labels: `model:readout`, or a fingerprint.")
    ] = None,
    method: Annotated[Method, typer.Option(help="The form of the map.")] = Method.ISOTONIC,
    held_out: Annotated[
        float, typer.Option(min=0.1, max=0.9, help="The share of queries to measure on.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Which queries those are.")] = 0,
    store: Annotated[
        bool, typer.Option("--store", help="Put the map: hits then show `probability`.")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json_: AsJson = False,
) -> None:
    """Fit a map from margin to probability of relevance, and measure it on other queries."""
    _check_usage(labels, job, qrels, scorer, store)
    given, fingerprint = _read(labels, job or [], qrels, url, key)
    report = _fitted(given, method, held_out, seed)
    if as_json_:
        print_json(plain(report))
    else:
        console.print(report_table(report))
        for warning in report.warnings:
            errors.print(Text(f"warning: {warning}", style="yellow"))
    if store:
        _store(report, fingerprint or scorer or "", url, key)


def _check_usage(
    labels: Path | None,
    jobs: list[str] | None,
    qrels: Path | None,
    scorer: str | None,
    store: bool,
) -> None:
    if (labels is None) == (not jobs) or bool(jobs) != (qrels is not None):
        raise typer.BadParameter("give a file of labels, or --job with --qrels")
    if jobs and scorer:
        raise typer.BadParameter("jobs name their scorer themselves")
    if store and labels and not scorer:
        raise typer.BadParameter("--store of labels needs --scorer")


def _read(
    labels: Path | None, jobs: list[str], qrels: Path | None, url: str | None, key: str | None
) -> tuple[list[Label], str | None]:
    """The labels, and the fingerprint of the jobs' scorer."""
    from repick.calibration.labels import of_jobs, read_labels, read_qrels

    if labels is not None:
        return read_labels(labels), None
    assert qrels is not None
    relevant = read_qrels(qrels)
    with client(url, key) as api:
        found = [api.job(one) for one in jobs]
    return of_jobs(found, relevant), _one_scorer(found)


def _one_scorer(jobs: list[Job]) -> str:
    fingerprints = {one.scorer.fingerprint for one in jobs}
    if len(fingerprints) > 1:
        raise InvalidField("job", "the jobs used several scorers", code="several_scorers")
    return fingerprints.pop()


def _fitted(labels: list[Label], method: Method, held_out: float, seed: int) -> Report:
    from repick.calibration import fit

    return fit.calibrate(labels, method, held_out, seed)


def _store(report: Report, scorer: str, url: str | None, key: str | None) -> None:
    value = plain(report)
    with client(url, key) as api:
        done = api.put_calibration(_fingerprint(api, scorer), value.pop("map"), value)
    errors.print(f"Stored for {done.scorer.name} ({done.scorer.fingerprint[:12]}…).", style="green")


def _fingerprint(api: Client, scorer: str) -> str:
    """The scorer of this fingerprint, or the one of this name that was served last."""
    for one in api.scorers():
        if scorer in (one["name"], one["fingerprint"]):
            return str(one["fingerprint"])
    raise InvalidField("scorer", f"there is no scorer {scorer}", code="scorer_not_found")


def plain(report: Report) -> dict[str, Any]:
    """The report as JSON values."""
    return {**asdict(report), "map": as_json(report.map), "warnings": list(report.warnings)}


def report_table(report: Report) -> Table:
    title = f"{report.measured_pairs} pairs of {report.measured_queries} queries"
    fitted = f"fitted on {report.fitted_pairs} pairs of {report.fitted_queries} others"
    table = Table(title=f"{title}, {fitted}", title_justify="left", box=None)
    for name in ("figure", "before", "after"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    before, after = report.before, report.after
    table.add_row("expected calibration error", f"{before.ece:.4f}", f"{after.ece:.4f}")
    table.add_row("Brier score", f"{before.brier:.4f}", f"{after.brier:.4f}")
    table.add_row("Brier score of the base rate", "", f"{report.base_rate_brier:.4f}")
    if (first := report.first_hits) is not None:
        table.add_row("R@1, coarse → fine", f"{first.coarse:.3f}", f"{first.fine:.3f}")
        table.add_row(
            f"R@1, fine → blend {report.blend}", f"{first.fine:.3f}", f"{first.blended:.3f}"
        )
    return table
