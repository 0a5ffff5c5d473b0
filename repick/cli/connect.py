"""Where the API and the database are: options, environment, or this machine's data folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from repick.client import Client
from repick.errors import Unavailable
from repick.settings import Settings, read_settings

if TYPE_CHECKING:
    from repick.store.database import Database

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="REPICK_API_URL", help="The API; this machine's unless given."),
]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="REPICK_API_KEY", help="A key; the data folder's unless given."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def client(url: str | None, key: str | None) -> Client:
    """Raises Unavailable where no key is given and the data folder has none."""
    settings = read_settings()
    return Client(url or _local_url(settings), key or _local_key(settings))


def _local_url(settings: Settings) -> str:
    """Where the stack of the data folder answers; it may have had to take another port."""
    file = settings.data_dir / "api-url"
    return file.read_text() if file.exists() else f"http://127.0.0.1:{settings.api_port}"


def _local_key(settings: Settings) -> str:
    file = settings.data_dir / "api-key"
    try:
        return file.read_text().strip()
    except OSError as exc:
        detail = f"no API key: use --key, set REPICK_API_KEY, or run `repick up` ({file})"
        raise Unavailable(detail, code="no_key") from exc


@contextmanager
def database(settings: Settings) -> Iterator[Database]:
    """The database of the settings, or the embedded one that runs now.

    Raises Unavailable where there is none, NotMigrated where it is none of ours yet.
    """
    from repick.store import schema
    from repick.store.database import Database

    opened = Database(database_url(settings), connections=2)
    try:
        with opened.read() as connection:
            schema.require(connection)
        yield opened
    finally:
        opened.close()


def database_url(settings: Settings) -> str:
    """Raises Unavailable where there is neither."""
    from repick.embedded.postgres import USER
    from repick.embedded.state import State

    if settings.database_url:
        return settings.database_url
    state = State.load(settings.data_dir)
    if state is None or not state.database_port:
        detail = "no database: set REPICK_DATABASE_URL, or run `repick up`"
        raise Unavailable(detail, code="no_database")
    where = f"127.0.0.1:{state.database_port}/{USER}"
    return f"postgresql+psycopg://{USER}:{state.database_password}@{where}"


def servers(settings: Settings) -> tuple[Settings, bool]:
    """The settings with both servers' addresses, and whether these are the embedded ones."""
    from repick.embedded.state import State

    if settings.database_url or settings.broker_url:
        return settings, False
    state = State.load(settings.data_dir)
    if state is None or not state.broker_port:
        return settings, False
    broker = f"redis://:{state.broker_password}@127.0.0.1:{state.broker_port}/0"
    found = {"database_url": database_url(settings), "broker_url": broker}
    return settings.model_copy(update=found), True
