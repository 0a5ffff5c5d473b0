"""repick run …: what changed since the run before, rankings as a file, the report."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.table import Table
from rich.text import Text

from repick.cli.connect import AsJson, Key, Url, client
from repick.cli.output import console, print_json
from repick.exports import Format

SHOWN = 5
"""Documents of a query that are named in each column of the table."""

app = typer.Typer(no_args_is_help=True, help="Compare, export and report runs.")

RunId = Annotated[str, typer.Argument(help="The run's id, which is its job's.")]
Against = Annotated[
    str | None, typer.Argument(help="An older run; the published one before unless given.")
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="A file; standard output.")]


@app.command()
def diff(
    run: RunId,
    against: Against = None,
    limit: Annotated[int, typer.Option(min=0, help="Queries to show.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed: over all queries, and the queries that changed."""
    with client(url, key) as api:
        summary = api.runs.summary(run, against)
        changed = (
            one
            for one in api.runs.diff(run, against)
            if one["entered"] or one["left"] or one["changed"] or not one["compared"]
        )
        shown = list(islice(changed, limit))
    if as_json:
        print_json([{"summary": summary, "queries": shown}])
        return
    console.print(_facts(summary))
    console.print(_changes(shown))


@app.command()
def export(
    run: RunId,
    form: Annotated[Format, typer.Option("--format", help="Of the file.")] = Format.JSONL,
    output: Output = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Write a run's, or any job's, rankings to a file."""
    with client(url, key) as api, _opened(output) as target:
        api.runs.export(run, target, form)


@app.command()
def report(run: RunId, output: Output = None, url: Url = None, key: Key = None) -> None:
    """Write the run's page of HTML, which needs no other file."""
    with client(url, key) as api, _opened(output) as target:
        api.runs.report(run, target)


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """The file, which is there only when it is whole; standard output without one."""
    if output is None:
        yield sys.stdout.buffer
        return
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as target:
            yield target
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _facts(summary: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_row("queries", f"{summary['queries']}, {summary['unchanged']} unchanged")
    table.add_row("new, gone", f"{summary['only_after']}, {summary['only_before']}")
    names = {
        "churn": "churn",
        "top1_churn": "another first place",
        "tau_mean": "Kendall τ",
        "rbo_mean": "rank-biased overlap",
    }
    for name, label in names.items():
        value = summary[name]
        table.add_row(label, "–" if value is None else f"{value:.3f}")
    for mover in summary["movers"][:5]:
        text = f"{mover['id']}: {mover['places']} places in {mover['queries']} queries"
        table.add_row("moved", Text(text))
    return table


def _some(changes: list[str]) -> str:
    """The first few: `--json` has all."""
    more = len(changes) - SHOWN
    return ", ".join(changes[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _changes(diffs: list[Mapping[str, Any]]) -> Table:
    table = Table("query", "entered", "left", "moved", "τ", "RBO", box=None)
    for one in diffs:
        moved = [each for each in one["changed"] if each["before"] != each["after"]]
        if not one["compared"]:
            table.add_row(Text(one["query"]), "new", "", "", "", "")
            continue
        table.add_row(
            Text(one["query"]),
            Text(_some([f"{id} → {rank}" for id, rank in one["entered"].items()]), "green"),
            Text(_some([f"{id} ({rank})" for id, rank in one["left"].items()]), "red"),
            Text(_some([f"{m['id']} {m['before']} → {m['after']}" for m in moved])),
            "–" if one["kendall_tau"] is None else f"{one['kendall_tau']:.2f}",
            f"{one['rank_biased_overlap']:.2f}",
        )
    return table
