"""repick doctor: is everything there that the service needs?"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from repick.cli.connect import AsJson, servers
from repick.cli.output import console, print_json
from repick.settings import read_settings

_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}


Models = Annotated[
    bool, typer.Option("--models", help="Load the encoder and the scorer, and try them.")
]


def doctor(as_json: AsJson = False, models: Models = False) -> None:
    """Look at servers, versions, migrations, models, disk and clocks; exit code 1 for a fault."""
    from repick.doctor import examine, healthy

    settings, embedded = servers(read_settings())
    findings = examine(settings, embedded=embedded, models=models)
    if as_json:
        print_json(findings)
    else:
        table = Table.grid(padding=(0, 2))
        for one in findings:
            mark, style = _MARKS[one.verdict]
            table.add_row(Text(mark, style), Text(one.part, "bold"), Text(one.detail))
        console.print(table)
    if not healthy(findings):
        raise typer.Exit(1)
