"""Contents and media rows: insert-only, known by hash within a tenant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from repick.content import Content, Media
from repick.tables import content, media

# Built once: on the path of every submit, building a statement costs more than running it.
_INSERT = insert(content).on_conflict_do_nothing()
# Locked against retention until the commit; in the order given, as whoever locks several does.
# Each row is looked up by itself: to a planner that has no statistics yet a tenant is a handful of
# rows, and it would read all of them, again and again while they grow.
_IDS = text(
    "SELECT given.sha256, found.id FROM unnest(CAST(:hashes AS bytea[])) AS given (sha256)"
    " CROSS JOIN LATERAL (SELECT id FROM content WHERE tenant_id = :tenant"
    " AND content.sha256 = given.sha256 FOR KEY SHARE) AS found"
)
_MEDIA = text(
    "SELECT found.sha256 FROM unnest(CAST(:hashes AS bytea[])) AS given (sha256)"
    " CROSS JOIN LATERAL (SELECT media.sha256 FROM media WHERE tenant_id = :tenant"
    " AND media.sha256 = given.sha256 FOR KEY SHARE) AS found"
)
_GET = text(
    "SELECT found.* FROM unnest(CAST(:ids AS bigint[])) AS given (id) CROSS JOIN LATERAL"
    " (SELECT c.id, c.text, c.instruction, m.sha256, m.media_type, m.width, m.height,"
    " m.byte_length FROM content c LEFT JOIN media m"
    " ON m.tenant_id = c.tenant_id AND m.sha256 = c.media_sha256"
    " WHERE c.tenant_id = :tenant AND c.id = given.id OFFSET 0) AS found"
)


def put(connection: Connection, tenant_id: int, contents: Iterable[Content]) -> dict[bytes, int]:
    """Store what is new, in one statement a table; give each content's id by its hash.

    Nobody can delete them until the transaction ends (`repick.store.retention`).
    """
    by_hash = {one.sha256: one for one in contents}
    if not by_hash:
        return {}
    put_media(connection, tenant_id, by_hash.values())
    # Sorted, so that two writers of the same contents cannot wait for each other in a circle.
    left, ids = sorted(by_hash), dict[bytes, int]()
    while left:  # again where one was deleted between the two statements
        connection.execute(_INSERT, [_row(tenant_id, one, by_hash[one]) for one in left])
        found = connection.execute(_IDS, {"tenant": tenant_id, "hashes": left})
        ids |= {bytes(row.sha256): row.id for row in found}
        left = [one for one in left if one not in ids]
    return ids


def get(connection: Connection, tenant_id: int, ids: Sequence[int]) -> Mapping[int, Content]:
    """Contents by id; ids that the tenant does not have are left out."""
    rows = connection.execute(_GET, {"tenant": tenant_id, "ids": list(ids)})
    return {
        row.id: Content(
            row.text,
            Media(bytes(row.sha256), row.media_type, row.width, row.height, row.byte_length)
            if row.sha256 is not None
            else None,
            row.instruction,
        )
        for row in rows
    }


def put_media(connection: Connection, tenant_id: int, contents: Iterable[Content]) -> None:
    """Store the rows of the contents' images, where they are new."""
    images = {one.media.sha256: one.media for one in contents if one.media}
    left = sorted(images)
    while left:
        rows = [_media_row(tenant_id, images[sha256]) for sha256 in left]
        connection.execute(insert(media).on_conflict_do_nothing(), rows)
        found = connection.execute(_MEDIA, {"tenant": tenant_id, "hashes": left}).scalars()
        held = {bytes(sha256) for sha256 in found}
        left = [one for one in left if one not in held]


def _media_row(tenant_id: int, image: Media) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "sha256": image.sha256,
        "media_type": image.media_type,
        "width": image.width,
        "height": image.height,
        "byte_length": image.byte_length,
    }


def _row(tenant_id: int, sha256: bytes, one: Content) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "sha256": sha256,
        "text": one.text,
        "media_sha256": one.media.sha256 if one.media else None,
        "instruction": one.instruction,
    }
