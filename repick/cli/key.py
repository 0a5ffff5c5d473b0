"""repick key …: API keys, made in the database itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from repick.cli.connect import AsJson, database
from repick.cli.output import console, errors, print_json
from repick.errors import InvalidField, NotFound
from repick.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="API keys; needs the database, not the API.")

Tenant = Annotated[str, typer.Option(help="Whose keys.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    tenant: Tenant = "default",
    scope: Annotated[
        list[str] | None, typer.Option(help="read, submit, ingest, admin; all unless given.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
) -> None:
    """Make a key and print it: it cannot be shown again."""
    from repick.store import keys

    scopes = tuple(scope or keys.SCOPES)
    if unknown := set(scopes) - set(keys.SCOPES):
        raise InvalidField("scope", f"there is no scope {min(unknown)}", code="unknown_scope")
    lifetime = timedelta(days=days) if days else None
    with database(read_settings()) as opened, opened.begin() as connection:
        tenant_id = keys.ensure_tenant(connection, tenant)
        made = keys.create_key(connection, tenant_id, name, scopes, lifetime)
    console.print(made, highlight=False, soft_wrap=True)
    errors.print("Keep it: it is stored as a hash, and cannot be shown again.", style="yellow")


@app.command(name="list")
def list_(tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """List a tenant's keys, without their secrets."""
    from repick.store import keys

    with database(read_settings()) as opened, opened.begin() as connection:
        tenant_id = keys.find_tenant(connection, tenant)
        found = keys.list_keys(connection, tenant_id) if tenant_id is not None else []
    if as_json:
        print_json(found)
        return
    table = Table("prefix", "name", "scopes", "created", "state", box=None)
    for one in found:
        state = "revoked" if one.revoked_at else "expires" if one.expires_at else "live"
        until = f" {one.expires_at:%Y-%m-%d}" if one.expires_at and not one.revoked_at else ""
        created = f"{one.created_at:%Y-%m-%d %H:%M}"
        table.add_row(one.prefix, Text(one.name), " ".join(one.scopes), created, state + until)
    console.print(table)


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="The key's prefix: rpk_PREFIX_…")],
    tenant: Tenant = "default",
) -> None:
    """Revoke a key, from now on."""
    from repick.store import keys

    with database(read_settings()) as opened, opened.begin() as connection:
        tenant_id = keys.find_tenant(connection, tenant)
        if tenant_id is None or not keys.revoke_key(connection, tenant_id, prefix):
            raise NotFound("this tenant has no such live key", code="key_not_found")
    console.print("[green]Revoked.[/green]")


@app.command()
def rotate(
    prefix: Annotated[str, typer.Argument(help="The old key's prefix: rpk_PREFIX_…")],
    tenant: Tenant = "default",
    hours: Annotated[int, typer.Option(min=0, help="How long the old one lives on.")] = 24,
) -> None:
    """Make a key in another's place, and let the old one expire."""
    from repick.store import keys

    with database(read_settings()) as opened, opened.begin() as connection:
        tenant_id = keys.find_tenant(connection, tenant)
        made = (
            keys.rotate_key(connection, tenant_id, prefix, timedelta(hours=hours))
            if tenant_id is not None
            else None
        )
    if made is None:
        raise NotFound("this tenant has no such live key", code="key_not_found")
    console.print(made, highlight=False, soft_wrap=True)
    errors.print(f"The old key ends in {hours} h at the latest.", style="yellow")
