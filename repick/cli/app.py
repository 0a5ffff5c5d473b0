"""The commands at the top, and how errors end the program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from repick.cli import corpus, job, key, queries, run, schedule, webhook
from repick.cli.calibrate import calibrate
from repick.cli.connect import AsJson, Key, Url, client
from repick.cli.doctor import doctor
from repick.cli.evaluate import evaluate, import_
from repick.cli.output import console, errors, models_table, print_json
from repick.errors import RepickError
from repick.settings import read_settings

app = typer.Typer(
    name="repick",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Rank texts and images with a multimodal language model that nobody trained for it.",
    epilog="Exit codes: 0 done, 1 refused or unreachable, 2 wrong usage, "
    "3 a job that ended other than succeeded, or a wait that ran out.",
)
app.add_typer(corpus.app, name="corpus")
app.add_typer(job.app, name="job")
app.add_typer(key.app, name="key")
app.add_typer(queries.app, name="queries")
app.add_typer(schedule.app, name="schedule")
app.add_typer(run.app, name="run")
app.add_typer(webhook.app, name="webhook")


app.command()(doctor)
app.command()(calibrate)
app.command(name="eval")(evaluate)
app.command(name="eval-import")(import_)


@app.command()
def up(
    data_dir: Annotated[
        Path | None, typer.Option(help="Where servers, models and logs live.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Keep the logs off the screen.")] = False,
) -> None:
    """Run everything on this machine until Ctrl-C: servers, API, workers, sweep, Flower."""
    from repick.stack import run_stack

    settings = read_settings(data_dir=data_dir) if data_dir else read_settings()
    raise typer.Exit(run_stack(settings, quiet=quiet))


@app.command()
def models(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the encoders and scorers that workers have registered, as jobs name them."""
    with client(url, key) as api:
        found = {"encoder": api.encoders(), "scorer": api.scorers()}
    print_json(found) if as_json else console.print(models_table(found))


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    from repick.cli.connect import database_url
    from repick.store.database import migrate as run

    run(database_url(read_settings()))
    console.print("[green]The schema is up to date.[/green]")


def main() -> None:
    """The entry point of `repick`."""
    try:
        app()
    except RepickError as exc:
        field = getattr(exc, "field", None)
        errors.print(f"[bold red]error[/bold red] ({exc.code}):", end=" ")
        errors.print((f"{field}: " if field else "") + exc.detail, markup=False, highlight=False)
        sys.exit(1)
