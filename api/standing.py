"""Putting standing queries: one that is wrong refuses them all, as nothing runs without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api import payload
from api.drafts import Draft, check_metadata, fetched, image_source, keep_media, verified
from api.ingest import known_corpus, no_corpus
from api.schedule_schemas import StandingQueriesRequest, StandingQueryRequest
from api.schemas import addressable
from api.services import Services
from repick.content import Content, clean_text
from repick.errors import ContentError, InvalidField
from repick.settings import Settings
from repick.store import contents, corpora, standing
from repick.store.standing import NewQuery


@dataclass(frozen=True, slots=True)
class QueryDraft:
    request: StandingQueryRequest
    field: str
    draft: Draft


def parse_lines(body: bytes) -> StandingQueriesRequest:
    """A query a line. Raises what strict_json and `validate` raise, with the line's number."""
    queries = payload.parse_lines(body, StandingQueryRequest)
    if not queries:
        raise InvalidField("body", "there is no query", code="missing_field")
    return StandingQueriesRequest.model_construct(queries=queries)


def check(request: StandingQueriesRequest, settings: Settings) -> list[QueryDraft]:
    """Raises InvalidField with the path of the value."""
    seen: set[str] = set()
    drafts = []
    for no, one in enumerate(request.queries):
        field = f"queries[{no}]"
        if not addressable(one.id):
            raise InvalidField(f"{field}.id", "no address can hold this id", code="invalid_id")
        if one.id in seen:
            detail = "another query has the same id"
            raise InvalidField(f"{field}.id", detail, code="duplicate_id")
        seen.add(one.id)
        drafts.append(QueryDraft(one, field, _draft(one, field, settings)))
    return drafts


def _draft(one: StandingQueryRequest, field: str, settings: Settings) -> Draft:
    if one.text is None and one.image is None:
        raise InvalidField(field, "a query has a text, an image, or both", code="blank")
    for name in ("text", "instruction"):
        if (given := getattr(one, name)) is not None:
            clean_text(given, f"{field}.{name}", settings.max_query_chars)
    for no, tag in enumerate(one.tags):
        clean_text(tag, f"{field}.tags[{no}]", 100)
    check_metadata(one.metadata, f"{field}.metadata")
    image = None
    if one.image is not None:
        image = image_source(one.image, field, settings)
    return Draft(one.text, image)


def put(services: Services, tenant_id: int, corpus: str, drafts: Sequence[QueryDraft]) -> int:
    """Store all of them in one transaction; give how many are new or changed.

    Raises NotFound (corpus), InvalidField (images), Unavailable.
    """
    known_corpus(services, tenant_id, corpus)
    queries = _contents(services, tenant_id, drafts)
    with services.database.begin() as connection:
        found = corpora.held(connection, tenant_id, corpus)
        if found is None:
            raise no_corpus()
        ids = contents.put(connection, tenant_id, queries)
        rows = [
            NewQuery(one.request.id, ids[query.sha256], one.request.tags, one.request.metadata)
            for one, query in zip(drafts, queries, strict=True)
        ]
        return standing.put(connection, tenant_id, found.id, rows)


def _contents(services: Services, tenant_id: int, drafts: Sequence[QueryDraft]) -> list[Content]:
    whole = fetched(services, [one.draft for one in drafts])
    outcomes = verified(services, whole)
    queries: list[Content] = []
    for one, outcome in zip(drafts, outcomes, strict=True):
        if isinstance(outcome, ContentError):
            raise InvalidField(f"{one.field}.image", outcome.detail, code=outcome.code)
        queries.append(Content(outcome.text, outcome.media, one.request.instruction))
    keep_media(services, tenant_id, whole, queries)
    return queries
