"""Contents and media rows: insert-only, known by hash within a tenant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, text

from repick.content import Content, Media

# One statement and an array a column, however many rows: a statement a row costs both sides more
# than the row does. In the order given, which is sorted.
_INSERT = text(
    "INSERT INTO content (tenant_id, sha256, text, media_sha256, instruction)"
    " SELECT :tenant, given.sha256, given.text, given.media_sha256, given.instruction"
    " FROM unnest(CAST(:hashes AS bytea[]), CAST(:texts AS text[]), CAST(:media AS bytea[]),"
    " CAST(:instructions AS text[])) AS given (sha256, text, media_sha256, instruction)"
    " ORDER BY given.sha256 ON CONFLICT DO NOTHING"
)
_INSERT_MEDIA = text(
    "INSERT INTO media (tenant_id, sha256, media_type, width, height, byte_length)"
    " SELECT :tenant, given.* FROM unnest(CAST(:hashes AS bytea[]), CAST(:types AS text[]),"
    " CAST(:widths AS integer[]), CAST(:heights AS integer[]), CAST(:lengths AS bigint[]))"
    " AS given (sha256, media_type, width, height, byte_length)"
    " ORDER BY given.sha256 ON CONFLICT DO NOTHING"
)
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
        connection.execute(_INSERT, _columns(tenant_id, [by_hash[one] for one in left]))
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
        columns = _media_columns(tenant_id, [images[sha256] for sha256 in left])
        connection.execute(_INSERT_MEDIA, columns)
        found = connection.execute(_MEDIA, {"tenant": tenant_id, "hashes": left}).scalars()
        held = {bytes(sha256) for sha256 in found}
        left = [one for one in left if one not in held]


def _media_columns(tenant_id: int, images: Sequence[Media]) -> dict[str, object]:
    return {
        "tenant": tenant_id,
        "hashes": [one.sha256 for one in images],
        "types": [one.media_type for one in images],
        "widths": [one.width for one in images],
        "heights": [one.height for one in images],
        "lengths": [one.byte_length for one in images],
    }


def _columns(tenant_id: int, contents: Sequence[Content]) -> dict[str, object]:
    return {
        "tenant": tenant_id,
        "hashes": [one.sha256 for one in contents],
        "texts": [one.text for one in contents],
        "media": [one.media.sha256 if one.media else None for one in contents],
        "instructions": [one.instruction for one in contents],
    }
