"""repick webhook …: where events of jobs and runs are sent. Needs a key with the scope `admin`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from repick.cli.connect import AsJson, Key, Url, client
from repick.cli.output import console, print_json, state_text

app = typer.Typer(no_args_is_help=True, help="Have events of jobs and runs sent somewhere.")

HookId = Annotated[int, typer.Argument(help="The webhook's id.")]


@app.command()
def create(
    address: Annotated[str, typer.Argument(help="An https address.")],
    event: Annotated[list[str], typer.Option(help="As `run.published`; may be repeated.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a webhook and print its secret, which is not shown again."""
    with client(url, key) as api:
        made = api.webhooks.create(address, event)
    if as_json:
        print_json([made])
        return
    console.print(f"webhook {made['id']}", highlight=False)
    console.print(made["secret"], markup=False, highlight=False, soft_wrap=True)


@app.command(name="list")
def list_(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the webhooks."""
    with client(url, key) as api:
        found = api.webhooks.all()
    if as_json:
        print_json(list(found))
        return
    table = Table("id", "address", "events", "state", box=None)
    for one in found:
        state = f"disabled: {one['disabled_reason']}" if one["disabled_at"] else "on"
        table.add_row(str(one["id"]), Text(one["url"]), ", ".join(one["events"]), state)
    console.print(table)


@app.command()
def delete(webhook: HookId, url: Url = None, key: Key = None) -> None:
    """Delete a webhook with its deliveries."""
    with client(url, key) as api:
        api.webhooks.delete(webhook)


@app.command(name="test")
def send_test(webhook: HookId, url: Url = None, key: Key = None) -> None:
    """Have `webhook.test` sent; `deliveries` shows what became of it."""
    with client(url, key) as api:
        console.print(api.webhooks.test(webhook)["delivery"], highlight=False)


@app.command()
def rotate(webhook: HookId, url: Url = None, key: Key = None) -> None:
    """Print a new secret; the old one signs too for 24 hours."""
    with client(url, key) as api:
        secret = api.webhooks.rotate(webhook)["secret"]
    console.print(secret, markup=False, highlight=False, soft_wrap=True)


@app.command()
def deliveries(
    webhook: HookId,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of each event, the newest first."""
    with client(url, key) as api:
        found = list(islice(api.webhooks.deliveries(webhook), limit))
    if as_json:
        print_json(found)
        return
    table = Table("event", "created", "state", "attempts", "last", "next", box=None)
    for one in found:
        last = one["last_error"] or one["last_status"] or "–"
        table.add_row(
            one["event"],
            one["created_at"],
            state_text(one["state"]),
            str(one["attempts"]),
            Text(str(last)),
            one["next_at"] or "–",
        )
    console.print(table)
