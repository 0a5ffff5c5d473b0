"""Documents that a job brings along: a malformed request is refused, a bad document fails alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.drafts import Draft, fetched, image_source, keep_media, text_error, verified
from api.schemas import DocumentRequest, printable
from api.services import Services
from repick.content import Content
from repick.errors import ContentError, InvalidField
from repick.settings import Settings
from repick.store.documents import Document


@dataclass(frozen=True, slots=True)
class DocumentDraft:
    """A document of a request; `error` where its text already cannot be content."""

    id: str
    draft: Draft
    score: float | None
    error: ContentError | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """A document as content, or why it is none."""

    id: str
    score: float | None
    content: Content | ContentError


def read(documents: Sequence[DocumentRequest], settings: Settings) -> list[DocumentDraft]:
    """The documents of a well-formed request; raises InvalidField with the path of a wrong one."""
    if len(documents) > settings.max_k:
        detail = f"a job brings at most {settings.max_k} documents"
        raise InvalidField("documents", detail, code="too_many_documents")
    seen: set[str] = set()
    drafts = []
    for no, one in enumerate(documents):
        field = f"documents[{no}]"
        if not printable(one.id):
            raise InvalidField(f"{field}.id", "no control characters", code="invalid_id")
        if one.id in seen:
            raise InvalidField(f"{field}.id", "another has the same id", code="duplicate_id")
        seen.add(one.id)
        drafts.append(_draft(one, field, settings))
    return drafts


def verify(
    services: Services, tenant_id: int, documents: Sequence[DocumentDraft]
) -> list[Verified]:
    """Each document as content, its image's bytes kept, or why it is none."""
    sound = fetched(services, [one.draft for one in documents if one.error is None])
    outcomes = verified(services, sound)
    keep_media(services, tenant_id, sound, outcomes)
    left = iter(outcomes)
    return [Verified(one.id, one.score, one.error or next(left)) for one in documents]


def rows(documents: Sequence[Verified], ids: Mapping[bytes, int]) -> list[Document]:
    """What is stored of them; `ids` are those of the stored contents by their hashes."""
    return [_row(one, ids) for one in documents]


def _row(one: Verified, ids: Mapping[bytes, int]) -> Document:
    if isinstance(one.content, ContentError):
        error = one.content
        return Document(one.id, None, one.score, error.code, error.retryable)
    return Document(one.id, ids[one.content.sha256], one.score)


def _draft(one: DocumentRequest, field: str, settings: Settings) -> DocumentDraft:
    if one.text is None and one.image is None:
        raise InvalidField(field, "a document has a text, an image, or both", code="blank")
    image = None
    if one.image is not None:
        image = image_source(one.image, field, settings)
    error = text_error(one.text, field, settings)
    return DocumentDraft(one.id, Draft(one.text, image), one.score, error)
