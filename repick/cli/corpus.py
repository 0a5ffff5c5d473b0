"""repick corpus …: make, fill and look at corpora."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from repick.cli.connect import AsJson, Key, Url, client
from repick.cli.output import console, corpus_table, errors, print_json
from repick.client import Corpus, PutResult
from repick.loading import Journal, Loaded, PassedOver, open_source
from repick.loading import load as run_load
from repick.loading.sources import read_lines
from repick.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="Make, fill and look at corpora.")

Name = Annotated[str, typer.Argument(help="The corpus's name.")]
NOT_READY = 3


@app.command()
def create(
    name: Name,
    encoder: Annotated[str | None, typer.Option(help="The last served unless given.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a corpus."""
    with client(url, key) as api:
        made = api.create_corpus(name, encoder)
    print_json(made) if as_json else console.print(corpus_table(made))


@app.command()
def show(name: Name, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show a corpus and how far its embedding has come."""
    with client(url, key) as api:
        found = api.corpus(name)
    print_json(found) if as_json else console.print(corpus_table(found))


@app.command(name="list")
def list_(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the corpora."""
    with client(url, key) as api:
        names = api.corpora()
    if as_json:
        print_json(names)
    else:
        for name in names:
            console.print(name, markup=False, highlight=False)


@app.command()
def delete(name: Name, url: Url = None, key: Key = None) -> None:
    """Delete a corpus with its items; rankings over it stay."""
    with client(url, key) as api:
        api.delete_corpus(name)


@app.command()
def put(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON lines: id, and text, image (a file's path) or both, and metadata.",
            exists=True,
            dir_okay=False,
        ),
    ],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Put the items of a JSON-lines file; image paths count from the file's folder."""
    columns = TextColumn("{task.description}"), TextColumn("{task.completed}"), TimeElapsedColumn()
    with client(url, key) as api, Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("items", total=None)

        def advance(result: PutResult) -> None:
            bar.advance(task, result.stored + result.unchanged + len(result.failed))

        done = api.put_items(name, read_lines(file), advance)
    _finish(done, as_json)


@app.command()
def load(
    name: Name,
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of images and .txt files, or a .jsonl, .ndjson or .parquet file.",
            exists=True,
        ),
    ],
    parallel: Annotated[int, typer.Option(min=1, max=32, help="Requests at a time.")] = 4,
    restart: Annotated[
        bool, typer.Option("--restart", help="Send again what an earlier run has sent.")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Load a corpus; a load that was stopped goes on where it was."""
    found = open_source(source)
    with client(url, key) as api, _load_bar() as bar:
        journal = Journal(read_settings().data_dir / "loads", api.base_url, name, found)
        if restart:
            journal.close()
        task = bar.add_task("items", total=found.count)

        def advance(done: Loaded) -> None:
            bar.update(task, completed=done.items)

        try:
            done = run_load(api, name, found, journal, parallel=parallel, on_progress=advance)
        except KeyboardInterrupt:
            bar.stop()
            errors.print("stopped: the same command goes on from here")
            raise
    _finish(done, as_json)


@app.command()
def wait(
    name: Name,
    timeout: Annotated[float | None, typer.Option(help="Seconds; for ever unless given.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Wait, with a progress bar, until every item has a vector or a reason why not."""
    with client(url, key) as api, _load_bar() as bar:
        task = bar.add_task("embedding", total=None)

        def advance(now: Corpus) -> None:
            bar.update(task, total=now.items, completed=now.embedded + sum(now.failed.values()))

        try:
            corpus = api.wait_for_corpus(name, advance, timeout)
        except TimeoutError as exc:
            bar.stop()
            errors.print(str(exc), style="yellow", highlight=False)
            raise typer.Exit(NOT_READY) from exc
    print_json(corpus) if as_json else console.print(corpus_table(corpus))


def _load_bar() -> Progress:
    """A bar on standard error, with the rate and what is left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=errors,
        transient=True,
    )


def _finish(done: PutResult | Loaded, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        skipped = done.skipped if isinstance(done, Loaded) else 0
        before = f", {skipped} sent before" if skipped else ""
        console.print(f"{done.stored} stored, {done.unchanged} unchanged{before}")
        if isinstance(done, Loaded) and done.passed_over.files:
            line = _named(done.passed_over)
            errors.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
        for failure in done.failed:
            line = f"{failure.id}: {failure.code} ({failure.detail})"
            errors.print(line, style="red", markup=False, highlight=False)
    if done.failed:
        raise typer.Exit(1)


def _named(passed_over: PassedOver) -> str:
    names, rest = ", ".join(passed_over.first), passed_over.files - len(passed_over.first)
    more = f" and {rest} more" if rest else ""
    files = "1 file" if passed_over.files == 1 else f"{passed_over.files} files"
    return f"{files} passed over, neither image nor text by type: {names}{more}"
