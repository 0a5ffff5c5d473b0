"""repick corpus …: make, fill and look at corpora."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from repick.cli.connect import AsJson, Key, Url, client
from repick.cli.output import console, corpus_table, errors, print_json
from repick.client import Item, PutResult
from repick.errors import InvalidField

app = typer.Typer(no_args_is_help=True, help="Make, fill and look at corpora.")

Name = Annotated[str, typer.Argument(help="The corpus's name.")]


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

        done = api.put_items(name, read_items(file), advance)
    if as_json:
        print_json(done)
    else:
        console.print(f"{done.stored} stored, {done.unchanged} unchanged")
        for failure in done.failed:
            line = f"{failure.id}: {failure.code} ({failure.detail})"
            errors.print(line, style="red", markup=False, highlight=False)
    if done.failed:
        raise typer.Exit(1)


def read_items(file: Path) -> Iterator[Item]:
    """Items of a JSON-lines file; raises InvalidField with the number of a wrong line."""
    with file.open(encoding="utf-8") as lines:
        for no, line in enumerate(lines, start=1):
            if line.strip():
                yield _item(line, f"{file.name}:{no}", file.parent)


def _item(line: str, where: str, folder: Path) -> Item:
    try:
        value = json.loads(line)
        unknown = set(value) - {"id", "text", "image", "metadata"}
        if unknown:
            raise InvalidField(where, f"unknown field {min(unknown)}", code="unknown_field")
        image = folder / value["image"] if "image" in value else None
        if image is not None and not image.is_file():
            raise InvalidField(where, f"there is no file {image}", code="no_such_file")
        return Item(value["id"], value.get("text"), image, value.get("metadata", {}))
    except (ValueError, TypeError, KeyError) as exc:
        detail = "a line is a JSON object with `id`, and `text`, `image` or both"
        raise InvalidField(where, detail, code="invalid_line") from exc
