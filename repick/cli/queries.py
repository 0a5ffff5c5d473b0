"""repick queries …: the standing queries of a corpus."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from repick.cli.connect import AsJson, Key, Url, client
from repick.cli.output import console, print_json
from repick.errors import InvalidField

app = typer.Typer(no_args_is_help=True, help="Standing queries, which schedules ask again.")

TOGETHER = 200
Corpus = Annotated[str, typer.Argument(help="The corpus's name.")]


@app.command()
def put(
    corpus: Corpus,
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON lines: id, and text, image (a file's path) or both, instruction, tags,"
            " metadata.",
            exists=True,
            dir_okay=False,
        ),
    ],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Put the queries of a JSON-lines file; image paths count from the file's folder."""
    stored = unchanged = 0
    lines = read_lines(file)
    with client(url, key) as api:
        while batch := list(islice(lines, TOGETHER)):
            done = api.schedules.put_queries(corpus, batch)
            stored, unchanged = stored + done["stored"], unchanged + done["unchanged"]
    if as_json:
        print_json({"stored": stored, "unchanged": unchanged})
    else:
        console.print(f"{stored} stored, {unchanged} unchanged")


@app.command(name="list")
def list_(
    corpus: Corpus,
    tag: Annotated[str | None, typer.Option(help="Only those with this tag.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List the standing queries by id."""
    with client(url, key) as api:
        found = list(api.schedules.queries(corpus, tag))
    if as_json:
        print_json(found)
        return
    for one in found:
        tags = f"  [{', '.join(one['tags'])}]" if one["tags"] else ""
        console.print(one["id"] + tags, markup=False, highlight=False)


@app.command()
def delete(
    corpus: Corpus,
    query: Annotated[str, typer.Argument(help="The query's id.")],
    url: Url = None,
    key: Key = None,
) -> None:
    """Delete a standing query; its rankings stay."""
    with client(url, key) as api:
        api.schedules.delete_query(corpus, query)


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Bodies of queries; raises InvalidField with the number of a wrong line."""
    with file.open(encoding="utf-8") as lines:
        for no, line in enumerate(lines, start=1):
            if line.strip():
                yield _body(line, f"{file.name}:{no}", file.parent)


def _body(line: str, where: str, folder: Path) -> dict[str, Any]:
    try:
        body: dict[str, Any] = dict(json.loads(line))
        if "image" in body:
            body["image"] = base64.b64encode((folder / body["image"]).read_bytes()).decode()
    except (ValueError, TypeError, OSError) as exc:
        detail = f"a line is a JSON object; an image is a file that can be read ({exc})"
        raise InvalidField(where, detail, code="invalid_line") from exc
    return body
