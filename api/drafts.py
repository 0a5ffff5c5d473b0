"""Texts and images of a request on their way to content: checked, verified, kept as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from api.services import Services
from repick.content import (
    Content,
    ImageAddress,
    ImageSource,
    Media,
    clean_text,
    parse_hosts,
    read_image_source,
)
from repick.errors import ContentError, InvalidField
from repick.settings import Settings

MAX_METADATA_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Draft:
    """A text and an image that are not verified yet; at least one of them.

    `image` is an address until `fetched`, and an error where that gave none.
    """

    text: str | None
    image: ImageSource | ImageAddress | ContentError | None


def fetched(services: Services, drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts with the bytes of those images that were given by address."""
    wanted = list(dict.fromkeys(d.image for d in drafts if isinstance(d.image, ImageAddress)))
    found = dict(zip(wanted, services.fetcher.fetch_many(wanted), strict=True))
    return [
        replace(one, image=found[one.image]) if isinstance(one.image, ImageAddress) else one
        for one in drafts
    ]


def verified(
    services: Services, drafts: Sequence[Draft], instruction: str | None = None
) -> list[Content | ContentError]:
    """Each draft as content, or why its image is none; nothing is stored.

    Raises Unavailable where no decoder can be started.
    """
    sources = {id(one): one.image for one in drafts if isinstance(one.image, ImageSource)}
    outcomes = services.inspector.inspect_many(
        [(source.data, source.declared_type) for source in sources.values()]
    )
    by_draft = dict(zip(sources, outcomes, strict=True))
    return [_content(draft, by_draft.get(id(draft)), instruction) for draft in drafts]


def _content(
    draft: Draft, outcome: Media | ContentError | None, instruction: str | None
) -> Content | ContentError:
    if isinstance(draft.image, ContentError):
        return draft.image
    if isinstance(outcome, ContentError):
        return outcome
    return Content(draft.text, outcome, instruction)


def keep_media(
    services: Services, tenant_id: int, drafts: Iterable[Draft], contents: Iterable[object]
) -> None:
    """Store the images of the verified ones, before any row names them."""
    images = {
        content.media.sha256: draft.image.data
        for draft, content in zip(drafts, contents, strict=True)
        if isinstance(content, Content) and content.media and isinstance(draft.image, ImageSource)
    }
    services.media.put_many(tenant_id, images)


def image_source(value: str, field: str, settings: Settings) -> ImageSource | ImageAddress:
    """The image of the request's field `field.image`; raises what read_image_source raises."""
    hosts = parse_hosts(settings.url_hosts)
    return read_image_source(value, f"{field}.image", settings.max_image_bytes, hosts)


def text_error(text: str | None, field: str, settings: Settings) -> ContentError | None:
    """Why a document's text cannot be content; it fails alone."""
    if text is None:
        return None
    try:
        clean_text(text, f"{field}.text", settings.max_text_chars)
    except InvalidField as exc:
        return ContentError(exc.code, exc.detail)
    return None


def check_metadata(metadata: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """Raises InvalidField `metadata_too_large`."""
    if len(json.dumps(metadata, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
        detail = f"metadata are over {MAX_METADATA_BYTES} bytes"
        raise InvalidField(field, detail, code="metadata_too_large")
    return metadata
