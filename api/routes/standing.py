"""The standing queries of a corpus, by the caller's own ids."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from api import ingest, ndjson, openapi, standing
from api.auth import Reader, Submitter
from api.corpus_name import CorpusName
from api.pages import Cursor, Limit, next_link
from api.payload import parse, read
from api.routes.items import ItemId as QueryId
from api.schedule_schemas import QUERIES_EXAMPLE, StandingQueriesRequest
from api.schedule_views import StandingQueriesOut, StandingQueryName, StandingQueryOut
from api.services import Services, services_of
from repick.errors import NotFound
from repick.store import contents, corpora
from repick.store import standing as store

router = APIRouter(prefix="/v1/corpora/{corpus}/queries", tags=["schedules"])

Serviced = Annotated[Services, Depends(services_of)]


class StoredQueriesOut(BaseModel):
    """How many queries are new or changed, and how many were there already."""

    stored: int
    unchanged: int


@router.put(
    "",
    response_model=StoredQueriesOut,
    responses=openapi.errors(400, 404, 413, 415),
    openapi_extra=openapi.json_body(StandingQueriesRequest, some={"value": QUERIES_EXAMPLE}),
)
async def put_queries(
    request: Request, who: Submitter, services: Serviced, corpus: CorpusName
) -> StoredQueriesOut:
    """Store standing queries, new or changed: up to 1,000 as JSON, or a query a line as NDJSON."""
    forms: dict[str, Callable[[bytes], StandingQueriesRequest]] = {
        "application/json": partial(parse, model=StandingQueriesRequest),
        ndjson.MEDIA_TYPE: standing.parse_lines,
    }
    wanted = await read(request, forms)

    def work() -> int:
        drafts = standing.check(wanted, services.settings)
        return standing.put(services, who.tenant_id, corpus, drafts)

    stored = await services.uploads.run(who.tenant_id, work)
    return StoredQueriesOut(stored=stored, unchanged=len(wanted.queries) - stored)


@router.get("", response_model=StandingQueriesOut, responses=openapi.errors(400, 404))
def list_queries(
    who: Reader,
    services: Serviced,
    corpus: CorpusName,
    tag: Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> StandingQueriesOut:
    """Standing queries in the order of their ids, without their contents."""
    with services.database.read() as connection:
        found = corpora.named(connection, who.tenant_id, corpus)
        if found is None:
            raise ingest.no_corpus()
        purpose = f"queries.{who.tenant_id}.{found.id}"
        after = services.cursors.read(purpose, cursor) if cursor is not None else ""
        page = store.listed(connection, who.tenant_id, found.id, after, limit + 1, tag)
    link = None
    if len(page) > limit:
        page = page[:limit]
        last = services.cursors.write(purpose, page[-1].external_id)
        link = next_link(f"/v1/corpora/{corpus}/queries", tag=tag, limit=limit, cursor=last)
    return StandingQueriesOut(items=[StandingQueryName.named(one) for one in page], next=link)


@router.get("/{item:path}", response_model=StandingQueryOut, responses=openapi.errors(404))
def show_query(
    who: Reader, services: Serviced, corpus: CorpusName, item: QueryId
) -> StandingQueryOut:
    with services.database.read() as connection:
        found = corpora.named(connection, who.tenant_id, corpus)
        if found is None:
            raise ingest.no_corpus()
        one = store.get(connection, who.tenant_id, found.id, item)
        if one is None:
            raise no_query()
        content = contents.get(connection, who.tenant_id, [one.content_id])[one.content_id]
    return StandingQueryOut.of(one, content)


@router.delete("/{item:path}", status_code=204, responses=openapi.errors(404))
def delete_query(who: Submitter, services: Serviced, corpus: CorpusName, item: QueryId) -> Response:
    """Delete a standing query; rankings that it has stay as they are."""
    with services.database.begin() as connection:
        found = corpora.named(connection, who.tenant_id, corpus)
        if found is None:
            raise ingest.no_corpus()
        if not store.remove(connection, who.tenant_id, found.id, item):
            raise no_query()
    return Response(status_code=204)


def no_query() -> NotFound:
    return NotFound("there is no standing query of this id", code="query_not_found")
