"""Corpora: made with their first space, shown with how far the embedding has come, deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from api import openapi
from api.auth import Ingester, Reader
from api.corpus_name import CorpusName as CorpusPath
from api.ingest import no_corpus
from api.payload import read_json
from api.schemas import CORPUS_EXAMPLE, CorpusRequest
from api.services import Services, services_of
from api.views import CorporaOut, CorpusName, CorpusOut, ItemFailure, ModelName
from repick.errors import Conflict, InvalidField, Unavailable
from repick.store import corpora, registry, spaces, unembedded

router = APIRouter(prefix="/v1/corpora", tags=["corpora"])

Serviced = Annotated[Services, Depends(services_of)]
FAILURES_SHOWN = 20


@router.post(
    "",
    status_code=201,
    response_model=CorpusOut,
    responses=openapi.errors(400, 409, 413, 415),
    openapi_extra=openapi.json_body(CorpusRequest, photos={"value": CORPUS_EXAMPLE}),
)
async def create_corpus(
    request: Request, response: Response, who: Ingester, services: Serviced
) -> CorpusOut:
    """Make a corpus with the vectors of one encoder."""
    wanted = await read_json(request, CorpusRequest)
    made = await run_in_threadpool(_create, services, who.tenant_id, wanted)
    response.headers["Location"] = f"/v1/corpora/{made.name}"
    return made


@router.get("", response_model=CorporaOut, responses=openapi.errors())
def list_corpora(who: Reader, services: Serviced) -> CorporaOut:
    with services.database.begin() as connection:
        found = corpora.listed(connection, who.tenant_id)
    return CorporaOut(items=[CorpusName.model_validate(one) for one in found])


@router.get("/{corpus}", response_model=CorpusOut, responses=openapi.errors(404))
def show_corpus(who: Reader, services: Serviced, corpus: CorpusPath) -> CorpusOut:
    """The corpus with its items, how many are embedded, wait, or failed, and why."""
    return _show(services, who.tenant_id, corpus)


@router.delete("/{corpus}", status_code=204, responses=openapi.errors(404))
def delete_corpus(who: Ingester, services: Serviced, corpus: CorpusPath) -> Response:
    """Delete the corpus, its items and vectors. Jobs and rankings over it stay."""
    with services.database.begin() as connection:
        found = corpora.held(connection, who.tenant_id, corpus, to_delete=True)
        if found is None:
            raise no_corpus()
        spaces.drop_of_corpus(connection, who.tenant_id, found.id)
        corpora.remove(connection, who.tenant_id, found.id)
    return Response(status_code=204)


def _create(services: Services, tenant_id: int, wanted: CorpusRequest) -> CorpusOut:
    with services.database.begin() as connection:
        encoder = registry.encoder_named(connection, wanted.encoder)
        if encoder is None and wanted.encoder is None:
            raise Unavailable("no worker has registered an encoder yet", code="no_encoder")
        if encoder is None:
            detail = "no encoder of this name is registered: GET /v1/encoders lists them"
            raise InvalidField("encoder", detail, code="unknown_encoder")
        corpus_id = corpora.create(connection, tenant_id, wanted.name)
        if corpus_id is None:
            detail = "there is a corpus of this name already"
            raise Conflict(detail, code="corpus_exists", corpus=wanted.name)
        dimension = encoder.specification["dimension"]
        spaces.create(connection, tenant_id, corpus_id, encoder.id, dimension)
    return _show(services, tenant_id, wanted.name)


def _show(services: Services, tenant_id: int, name: str) -> CorpusOut:
    with services.database.begin() as connection:
        found = corpora.held(connection, tenant_id, name)
        if found is None:
            raise no_corpus()
        space = spaces.of_corpus(connection, tenant_id, found.id)[0]
        encoder = registry.encoder_of(connection, space.encoder_id)
        filling = spaces.filling(connection, space)
        failures = unembedded.failures(connection, tenant_id, space.id, FAILURES_SHOWN)
        items = corpora.count_items(connection, tenant_id, found.id)
    return CorpusOut(
        name=found.name,
        created_at=found.created_at,
        encoder=ModelName.model_validate(encoder),
        untrained=encoder.untrained,
        dimension=space.dimension,
        indexed=space.indexed,
        items=items,
        embedded=filling.embedded,
        pending=filling.pending,
        failed=filling.failed,
        failures=[ItemFailure(id=item_id, code=code) for item_id, code in failures],
    )
