"""repick schedule …: when standing queries are ranked again, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from repick.cli.connect import AsJson, Key, Url, client
from repick.cli.output import console, errors, print_json

app = typer.Typer(no_args_is_help=True, help="Rank a corpus's standing queries every night.")

Json = Mapping[str, Any]
Name = Annotated[str, typer.Argument(help="The schedule's name.")]
Options = Annotated[str, typer.Option(help="Other fields of the API's request, as a JSON object.")]


@app.command()
def create(
    name: Name,
    corpus: Annotated[str, typer.Argument(help="Whose standing queries.")],
    cron: Annotated[str, typer.Argument(help="As `30 2 * * *`.")],
    time_zone: Annotated[str, typer.Option(help="As `Europe/Berlin`.")] = "UTC",
    k: Annotated[int, typer.Option(min=1, help="Candidates a query.")] = 20,
    until: Annotated[str | None, typer.Option(help="When the window closes: `06:00`.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only queries with it.")] = None,
    options: Options = "{}",
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a schedule."""
    given: dict[str, Any] = {"time_zone": time_zone, "k": k, **_object(options)}
    given |= {"until": until} if until else {}
    given |= {"tags": tag} if tag else {}
    with client(url, key) as api:
        made = api.schedules.create(name, corpus, cron, **given)
    _print([made], as_json)


@app.command(name="list")
def list_(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the schedules."""
    with client(url, key) as api:
        _print(list(api.schedules.all()), as_json)


@app.command()
def change(
    name: Name,
    changes: Annotated[str, typer.Argument(help='A JSON object, as \'{"cron": "0 4 * * *"}\'.')],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Change a schedule; a run that has begun goes on as it was."""
    with client(url, key) as api:
        _print([api.schedules.change(name, _object(changes))], as_json)


@app.command()
def delete(name: Name, url: Url = None, key: Key = None) -> None:
    """Delete a schedule; the jobs of its runs stay."""
    with client(url, key) as api:
        api.schedules.delete(name)


@app.command()
def pause(name: Name, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Let no tick come until it is resumed."""
    with client(url, key) as api:
        _print([api.schedules.pause(name)], as_json)


@app.command()
def resume(name: Name, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Let ticks come again; those of the pause are not made up."""
    with client(url, key) as api:
        _print([api.schedules.resume(name)], as_json)


@app.command()
def run(
    name: Name,
    date: Annotated[str | None, typer.Option(help="The tick of this day: `2026-11-26`.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Run now, or the tick of a date."""
    with client(url, key) as api:
        begun = api.schedules.run(name, date)
    _print_runs([begun], as_json)


@app.command()
def runs(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 30,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List the last runs, the newest first."""
    with client(url, key) as api:
        _print_runs(api.schedules.runs(name, limit), as_json)


@app.command()
def latest(
    name: Name,
    query: Annotated[str | None, typer.Option(help="Only this standing query's.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print the latest run and its first rankings as JSON; `repick run export` writes all."""
    with client(url, key) as api:
        found = api.schedules.latest(name, query)
    print_json(found)
    if found["next"]:
        shown, run = len(found["rankings"]), found["run"]["id"]
        errors.print(f"The first {shown} rankings; all of them: repick run export {run}")


@app.command()
def confirm(
    name: Name,
    run: Annotated[str, typer.Argument(help="The run's id.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Publish a run that is held back."""
    with client(url, key) as api:
        _print_runs([api.schedules.confirm(name, run)], as_json)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise typer.BadParameter(f"no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise typer.BadParameter("a JSON object is wanted here")
    return found


def _print(schedules: Iterable[Json], as_json: bool) -> None:
    if as_json:
        print_json(list(schedules))
        return
    table = Table("schedule", "corpus", "cron", "zone", "next", "latest", box=None)
    for one in schedules:
        upcoming = "paused" if one["paused"] else one["next_at"]
        row = (one["name"], one["corpus"], one["cron"], one["time_zone"], upcoming)
        table.add_row(*row, one["latest_tick"] or "–")
    console.print(table)


def _print_runs(runs: Iterable[Json], as_json: bool) -> None:
    if as_json:
        print_json(list(runs))
        return
    run = Column("run", no_wrap=True, min_width=36)  # to be copied whole
    counted = ("needed", "reused", "scored", "device s")
    table = Table(run, "tick", "state", *counted, "because of", box=None)
    for one in runs:
        figures = one["figures"]
        counts = (figures.get(f"pairs_{name}") for name in ("total", "reused", "scored"))
        shown = ["–" if count is None else str(count) for count in counts]
        seconds = f"{figures['device_s']:.1f}" if "device_s" in figures else "–"
        reasons = ", ".join(reason["code"] for reason in one["reasons"])
        table.add_row(one["id"], one["tick"][:16], one["state"], *shown, seconds, reasons)
    console.print(table)
