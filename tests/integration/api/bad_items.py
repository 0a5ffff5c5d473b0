"""Bad image sources, items and corpora, and what each gets."""

from __future__ import annotations

from tests.integration.api.bad_requests import (
    CORPORA,
    ITEMS,
    JOBS,
    PHOTO,
    QUERY,
    Bad,
    items,
    queries,
)


def image(source: str, code: str, status: int = 422) -> tuple[Bad, Bad]:
    """The same bad image source in a query and in an item."""
    name = source[:60]
    in_query = queries(QUERY, {"text": "a", "image": source})
    in_item = items({"id": "good", "text": "fine"}, {"id": "bad", "image": source})
    return (
        Bad(f"{name} query", JOBS, in_query, status, code, "queries[1].image"),
        Bad(f"{name} item", ITEMS, in_item, status, code, "items[1].image"),
    )


SOURCES = (
    *image("not base64!", "invalid_base64"),
    *image(PHOTO[:-1], "invalid_base64"),
    *image("", "blank"),
    *image("data:image/png," + PHOTO, "invalid_base64"),
    *image("data:text/html;base64," + PHOTO, "unsupported_media_type"),
    *image("data:image/svg+xml;base64," + PHOTO, "unsupported_media_type"),
    *image("data:image/png;base64," + "A" * 8_000_016, "too_large", 413),
    *image("A" * 8_000_016, "too_large", 413),
    *image("file:///etc/passwd", "urls_disabled"),
    *image("gopher://127.0.0.1:6379/_x", "urls_disabled"),
    *image("ftp://example.com/a.png", "urls_disabled"),
    *image("unix:/run/x.sock", "urls_disabled"),
    *image("http://127.0.0.1/a.png", "urls_disabled"),
    *image("http://169.254.169.254/latest/meta-data", "urls_disabled"),
    *image("http://2130706433/", "urls_disabled"),
    *image("http://[::ffff:10.0.0.1]/", "urls_disabled"),
    *image("https://user@example.com/a.png", "urls_disabled"),
)

ITEM_BODIES = (
    Bad("no items", ITEMS, items(), 422, "invalid_field", "items"),
    Bad(
        "1,001 items",
        ITEMS,
        items(*({"id": str(no), "text": "a"} for no in range(1001))),
        422,
        "invalid_field",
        "items",
    ),
    Bad("items that are none", ITEMS, {"items": "a"}, 422, "invalid_field", "items"),
    Bad("no id", ITEMS, items({"text": "a"}), 422, "missing_field", "items[0].id"),
    Bad(
        "number for an id",
        ITEMS,
        items({"id": 5, "text": "a"}),
        422,
        "invalid_field",
        "items[0].id",
    ),
    Bad("empty id", ITEMS, items({"id": "", "text": "a"}), 422, "invalid_field", "items[0].id"),
    Bad(
        "long id", ITEMS, items({"id": "a" * 513, "text": "a"}), 422, "invalid_field", "items[0].id"
    ),
    Bad(
        "duplicate ids",
        ITEMS,
        items({"id": "a", "text": "x"}, {"id": "b", "text": "x"}, {"id": "a", "text": "y"}),
        422,
        "duplicate_id",
        "items[2].id",
    ),
    Bad("neither text nor image", ITEMS, items({"id": "a"}), 422, "blank", "items[0]"),
    Bad(
        "unknown field", ITEMS, items({"id": "a", "txt": "b"}), 422, "unknown_field", "items[0].txt"
    ),
    Bad(
        "metadata that are no object",
        ITEMS,
        items({"id": "a", "text": "b", "metadata": [1]}),
        422,
        "invalid_field",
        "items[0].metadata",
    ),
    Bad(
        "a part in a body without parts",
        ITEMS,
        items({"id": "a", "image_part": "p"}),
        422,
        "missing_part",
        "items[0].image_part",
    ),
    Bad(
        "two images",
        ITEMS,
        items({"id": "a", "image": PHOTO, "image_part": "p"}),
        422,
        "two_images",
        "items[0]",
    ),
    *(
        Bad(
            f"id {name!r}",
            ITEMS,
            items({"id": name, "text": "a"}),
            422,
            "invalid_id",
            "items[0].id",
        )
        for name in ("a\nb", "\x7f", "..", "a/../b", "./a", "a//b", "/a", "a/", "a/image")
    ),
)

CORPUS_BODIES = (
    Bad("name with a slash", CORPORA, {"name": "a/b"}, 422, "invalid_field", "name"),
    Bad("capital letters", CORPORA, {"name": "Things"}, 422, "invalid_field", "name"),
    Bad("empty name", CORPORA, {"name": ""}, 422, "invalid_field", "name"),
    Bad("long name", CORPORA, {"name": "a" * 64}, 422, "invalid_field", "name"),
    Bad("name with a line break", CORPORA, {"name": "a\n"}, 422, "invalid_field", "name"),
    Bad("no name", CORPORA, {}, 422, "missing_field", "name"),
    Bad("taken name", CORPORA, {"name": "things"}, 409, "corpus_exists"),
    Bad(
        "unknown encoder",
        CORPORA,
        {"name": "b", "encoder": "no"},
        422,
        "unknown_encoder",
        "encoder",
    ),
    Bad(
        "path for an encoder",
        CORPORA,
        {"name": "b", "encoder": "../x"},
        422,
        "invalid_field",
        "encoder",
    ),
)
