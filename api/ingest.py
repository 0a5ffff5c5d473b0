"""Putting items: a malformed request stores nothing; an item that cannot be content fails alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.drafts import (
    Draft,
    check_metadata,
    fetched,
    image_source,
    keep_media,
    text_error,
    verified,
)
from api.multipart import Part
from api.schemas import MAX_ITEMS, ItemRequest, ItemsRequest, addressable
from api.services import Services
from repick.content import Content, ImageAddress, ImageSource
from repick.errors import ContentError, InvalidField, NotFound
from repick.settings import Settings
from repick.store import contents, corpora, embeddings, registry, spaces
from repick.store.corpora import NewItem


@dataclass(frozen=True, slots=True)
class ItemDraft:
    """An item of a request; `error` where its text already cannot be content."""

    id: str
    draft: Draft
    metadata: Mapping[str, Any]
    error: ContentError | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    stored: int
    unchanged: int
    failed: Sequence[tuple[str, ContentError]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    space_id: int
    queue: str
    items: int


def read_items(
    request: ItemsRequest, parts: Mapping[str, Part] | None, settings: Settings
) -> list[ItemDraft]:
    """The items of a well-formed request; `parts` are the images of a multipart one.

    Raises InvalidField for what makes the whole request wrong.
    """
    seen: set[str] = set()
    used: set[str] = set()
    drafts = []
    for no, item in enumerate(request.items):
        field = f"items[{no}]"
        _check_id(item.id, f"{field}.id", seen)
        if item.image_part is not None:
            used.add(item.image_part)
        drafts.append(_draft(item, field, parts, settings))
    if unused := set(parts or ()) - used:
        name = min(unused)
        raise InvalidField(name[:100], "no item names this part", code="unused_part")
    return drafts


def put(services: Services, tenant_id: int, corpus: str, items: Sequence[ItemDraft]) -> Outcome:
    """Put items, a transaction for each MAX_ITEMS of them.

    Raises NotFound where the corpus is not there, Unavailable where a server is not; what was put
    before stays, and putting it again changes nothing.
    """
    runs = range(0, len(items), MAX_ITEMS)
    done = [_put(services, tenant_id, corpus, items[run : run + MAX_ITEMS]) for run in runs]
    return Outcome(
        sum(one.stored for one in done),
        sum(one.unchanged for one in done),
        [failure for one in done for failure in one.failed],
    )


def _put(services: Services, tenant_id: int, corpus: str, items: Sequence[ItemDraft]) -> Outcome:
    """Verify images, keep their bytes, store everything in one transaction, then publish.

    Raises NotFound where the corpus is not there, Unavailable where a server is not.
    """
    known_corpus(services, tenant_id, corpus)
    sound = [item for item in items if item.error is None]
    drafts = fetched(services, [item.draft for item in sound])
    outcomes = verified(services, drafts)
    keep_media(services, tenant_id, drafts, outcomes)
    good = {
        item.id: (outcome, item.metadata)
        for item, outcome in zip(sound, outcomes, strict=True)
        if isinstance(outcome, Content)
    }
    stored, waiting = _store(services, tenant_id, corpus, good)
    for one in waiting:
        services.publisher.embedding(one.space_id, one.queue, one.items)
    failed = [(item.id, item.error) for item in items if item.error] + [
        (item.id, outcome)
        for item, outcome in zip(sound, outcomes, strict=True)
        if isinstance(outcome, ContentError)
    ]
    return Outcome(stored, len(good) - stored, failed)


def known_corpus(services: Services, tenant_id: int, name: str) -> None:
    """Raises NotFound before any work is done for a corpus that is not there."""
    with services.database.begin() as connection:
        if corpora.named(connection, tenant_id, name) is None:
            raise no_corpus()


def no_corpus() -> NotFound:
    return NotFound(
        "there is no corpus of this name: GET /v1/corpora lists them", code="corpus_not_found"
    )


def _store(
    services: Services,
    tenant_id: int,
    corpus: str,
    good: Mapping[str, tuple[Content, Mapping[str, Any]]],
) -> tuple[int, list[_Waiting]]:
    """How many items are new or changed, and what waits for a vector because of them."""
    with services.database.begin() as connection:
        found = corpora.held(connection, tenant_id, corpus)
        if found is None:
            raise no_corpus()
        ids = contents.put(connection, tenant_id, [content for content, _ in good.values()])
        rows = [
            NewItem(external_id, ids[content.sha256], metadata)
            for external_id, (content, metadata) in good.items()
        ]
        changed = corpora.put_items(connection, tenant_id, found.id, rows)
        waiting = []
        for space in spaces.of_corpus(connection, tenant_id, found.id):
            count = embeddings.enqueue(connection, tenant_id, space.id, changed)
            queue = registry.encoder_of(connection, space.encoder_id).queue
            waiting.append(_Waiting(space.id, queue, count))
    return len(changed), [one for one in waiting if one.items]


def _check_id(item_id: str, field: str, seen: set[str]) -> None:
    if not addressable(item_id):
        detail = "no control characters, no empty, `.` or `..` part, and no `/image` at the end"
        raise InvalidField(field, detail, code="invalid_id")
    if item_id in seen:
        raise InvalidField(field, "another item has the same id", code="duplicate_id")
    seen.add(item_id)


def _draft(
    item: ItemRequest, field: str, parts: Mapping[str, Part] | None, settings: Settings
) -> ItemDraft:
    if item.image is not None and item.image_part is not None:
        raise InvalidField(field, "give `image` or `image_part`", code="two_images")
    if item.text is None and item.image is None and item.image_part is None:
        raise InvalidField(field, "an item has a text, an image, or both", code="blank")
    check_metadata(item.metadata, f"{field}.metadata")
    image: ImageSource | ImageAddress | None = None
    if item.image is not None:
        image = image_source(item.image, field, settings)
    elif item.image_part is not None:
        image = _part(item.image_part, f"{field}.image_part", parts)
    error = text_error(item.text, field, settings)
    return ItemDraft(item.id, Draft(item.text, image), item.metadata, error)


def _part(name: str, field: str, parts: Mapping[str, Part] | None) -> ImageSource:
    if parts is None or name not in parts:
        raise InvalidField(field, "there is no part of this name", code="missing_part")
    return ImageSource(parts[name].data, parts[name].declared_type)
