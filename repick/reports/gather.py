"""From the database and the media to what a run's page shows."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from repick.compare import Mover, Summary
from repick.errors import Conflict, ContentError, NotFound
from repick.media import MediaStore
from repick.schedules import RunState
from repick.store import comparing, reports, runs
from repick.store.database import Connection, Database
from repick.store.reports import Document, Failures, Past
from repick.store.runs import Run

RUNS = 30
MOVERS = 12
TEXT_CHARS = 200
PICTURE_BYTES, PICTURES_BYTES = 256 * 1024, 3 * 1024 * 1024
SHOWN_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})


@dataclass(frozen=True, slots=True)
class Shown:
    """A document that moved. `picture` is a data URL of its original bytes; `unshown` says why an
    image is not there: the page's room, or a lost file. Nothing is decoded here."""

    mover: Mover
    text: str
    picture: str | None
    unshown: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """`summary` compares with `before`; None for a first run."""

    run: Run
    before: Run | None
    summary: Summary | None
    history: Sequence[Past]
    movers: Sequence[Shown]
    query_failures: Sequence[Failures]
    item_failures: Sequence[Failures]


def gather(database: Database, media: MediaStore, tenant_id: int, run_id: UUID) -> Report:
    """Raises NotFound, Conflict for a run that goes on, Unavailable."""
    with database.begin() as connection:
        run = runs.by_id(connection, tenant_id, run_id)
        if run is None:
            raise NotFound("there is no run of this id", code="run_not_found")
        if run.state is RunState.RUNNING:
            raise Conflict("the run has not ended", code="run_not_ended", run_id=run_id)
        before = runs.previous(connection, run)
        summary = _summary(connection, run, before)
        movers = list(summary.movers[:MOVERS]) if summary else []
        found = reports.documents(connection, tenant_id, run_id, [one.id for one in movers])
        made = Report(
            run=run,
            before=before,
            summary=summary,
            history=reports.history(connection, run, RUNS),
            movers=(),
            query_failures=reports.query_failures(connection, tenant_id, run_id),
            item_failures=reports.item_failures(connection, tenant_id, run_id),
        )
    shown = _shown(media, tenant_id, movers, found)
    return Report(**{n: getattr(made, n) for n in Report.__slots__ if n != "movers"}, movers=shown)


def _summary(connection: Connection, run: Run, before: Run | None) -> Summary | None:
    if before is None or not run.figures.get("rankings"):
        return None
    with suppress(NotFound):  # the rankings of the one before were past their age
        return comparing.summary(connection, run.tenant_id, before.run_id, run.run_id)
    return None


def _shown(
    media: MediaStore, tenant_id: int, movers: Sequence[Mover], found: Mapping[str, Document]
) -> list[Shown]:
    shown, left = [], PICTURES_BYTES
    for mover in movers:
        document = found.get(mover.id)
        if document is None:
            shown.append(Shown(mover, "", None, None))
            continue
        picture, unshown = _picture(media, tenant_id, document, min(left, PICTURE_BYTES))
        left -= document.byte_length or 0 if picture else 0
        shown.append(Shown(mover, _cut(document.text or ""), picture, unshown))
    return shown


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS else text[: TEXT_CHARS - 1] + "…"


def _picture(
    media: MediaStore, tenant_id: int, one: Document, room: int
) -> tuple[str | None, str | None]:
    if one.media_sha256 is None or one.byte_length is None:
        return None, None
    if one.byte_length > room or one.media_type not in SHOWN_TYPES:
        return None, f"a picture of {one.byte_length / 1024:,.0f} kB is not shown here"
    try:
        data = media.get(tenant_id, one.media_sha256)
    except ContentError as exc:
        return None, exc.code
    return f"data:{one.media_type};base64,{base64.b64encode(data).decode()}", None
