"""The items of a corpus, by the caller's own ids, which may contain slashes."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from api import ingest, ndjson, openapi
from api.auth import Ingester, Reader
from api.corpus_name import CorpusName
from api.item_lines import parse_lines
from api.multipart import Part
from api.multipart import parse as parse_multipart
from api.pages import Cursor, Limit, next_link
from api.payload import content_type, parse, read_json
from api.problems import HttpError
from api.schemas import ITEMS_EXAMPLE, MAX_ID_CHARS, ItemsRequest, addressable
from api.services import Services, services_of
from api.views import FailedItem, ImageOut, ItemName, ItemOut, ItemsOut, StoredOut
from repick.content import Content
from repick.errors import ContentError, InvalidField, NotFound, Unavailable
from repick.store import contents, corpora
from repick.store.corpora import Item

router = APIRouter(prefix="/v1/corpora/{corpus}/items", tags=["items"])

Serviced = Annotated[Services, Depends(services_of)]


async def item_id(item: str) -> str:
    """A dependency: the id in the path; raises InvalidField for one that no item can have."""
    if len(item) > MAX_ID_CHARS or not addressable(item):
        raise InvalidField("item", "no item can have this id", code="invalid_id")
    return item


ItemId = Annotated[str, Depends(item_id)]


@router.put(
    "",
    response_model=StoredOut,
    responses=openapi.errors(400, 404, 413, 415),
    openapi_extra=openapi.items_body(ItemsRequest, ITEMS_EXAMPLE),
)
async def put_items(
    request: Request, who: Ingester, services: Serviced, corpus: CorpusName
) -> StoredOut:
    """Store up to 1,000 items, new or changed, as JSON or as multipart with images as parts.

    As NDJSON (`application/x-ndjson`), an item a line, as many as the body may hold: like
    any, it has at most 500,000 JSON values. An image or text that cannot be used fails as an item;
    the others are stored.
    """
    wanted, parts = await _read(request)

    def work() -> ingest.Outcome:
        items = ingest.read_items(wanted, parts, services.settings)
        return ingest.put(services, who.tenant_id, corpus, items)

    outcome = await services.ingests.run(who.tenant_id, work)
    failed = [
        FailedItem(id=name, code=error.code, detail=error.detail, retryable=error.retryable)
        for name, error in outcome.failed
    ]
    return StoredOut(stored=outcome.stored, unchanged=outcome.unchanged, failed=failed)


@router.get("", response_model=ItemsOut, responses=openapi.errors(400, 404))
def list_items(
    who: Reader,
    services: Serviced,
    corpus: CorpusName,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ItemsOut:
    """Items in the order of their ids, without their contents."""
    with services.database.begin() as connection:
        found = corpora.named(connection, who.tenant_id, corpus)
        if found is None:
            raise ingest.no_corpus()
        purpose = f"items.{who.tenant_id}.{found.id}"
        after = services.cursors.read(purpose, cursor) if cursor is not None else ""
        page = corpora.list_items(connection, who.tenant_id, found.id, after, limit + 1)
    link = None
    if len(page) > limit:
        page = page[:limit]
        last = services.cursors.write(purpose, page[-1].external_id)
        link = next_link(f"/v1/corpora/{corpus}/items", limit=limit, cursor=last)
    return ItemsOut(items=[ItemName.named(one) for one in page], next=link)


@router.get(
    "/{item:path}/image",
    response_class=Response,
    responses=openapi.IMAGE,
)
def show_image(
    request: Request, who: Reader, services: Serviced, corpus: CorpusName, item: ItemId
) -> Response:
    """The original bytes of the item's image, as they were received."""
    _, content = _find(services, who.tenant_id, corpus, item)
    if content.media is None:
        raise NotFound("this item has no image", code="no_image")
    sha256 = content.media.sha256
    kind = content.media.media_type.removeprefix("image/")
    headers = {
        "ETag": f'"{sha256.hex()}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'inline; filename="{sha256.hex()[:16]}.{kind}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    data = _read_media(services, who.tenant_id, sha256)
    return Response(data, media_type=content.media.media_type, headers=headers)


@router.get("/{item:path}", response_model=ItemOut, responses=openapi.errors(404))
def show_item(who: Reader, services: Serviced, corpus: CorpusName, item: ItemId) -> ItemOut:
    found, content = _find(services, who.tenant_id, corpus, item)
    href = f"/v1/corpora/{corpus}/items/{quote(item)}/image"
    named = ItemName.named(found).model_dump()
    return ItemOut(**named, text=content.text, image=_image(content, href))


@router.delete("/{item:path}", status_code=204, responses=openapi.errors(404))
def delete_item(who: Ingester, services: Serviced, corpus: CorpusName, item: ItemId) -> Response:
    """Delete an item and its vector. Rankings that name it stay as they are."""
    with services.database.begin() as connection:
        found = corpora.named(connection, who.tenant_id, corpus)
        if found is None:
            raise ingest.no_corpus()
        if corpora.delete_items(connection, who.tenant_id, found.id, [item]) == 0:
            raise _no_item()
    return Response(status_code=204)


async def _read(request: Request) -> tuple[ItemsRequest, dict[str, Part] | None]:
    """The request, and the parts with images where it is a multipart one."""
    declared = content_type(request)
    if declared.get_content_type() == ndjson.MEDIA_TYPE:
        return await to_thread.run_sync(parse_lines, await request.body()), None
    if declared.get_content_type() != "multipart/form-data":
        return await read_json(request, ItemsRequest), None
    body = await request.body()
    return await to_thread.run_sync(_read_form, body, declared.get_param("boundary"))


def _read_form(body: bytes, boundary: object) -> tuple[ItemsRequest, dict[str, Part]]:
    parts = dict(parse_multipart(body, boundary))
    items = parts.pop("items", None)
    if items is None:
        raise HttpError(400, "invalid_multipart", "there is no part `items`")
    return parse(items.data, ItemsRequest), parts


def _find(services: Services, tenant_id: int, corpus: str, name: str) -> tuple[Item, Content]:
    with services.database.begin() as connection:
        found = corpora.named(connection, tenant_id, corpus)
        if found is None:
            raise ingest.no_corpus()
        item = corpora.get_item(connection, tenant_id, found.id, name)
        if item is None:
            raise _no_item()
        content = contents.get(connection, tenant_id, [item.content_id])[item.content_id]
    return item, content


def _no_item() -> NotFound:
    return NotFound("there is no item of this id", code="item_not_found")


def _image(content: Content, href: str) -> ImageOut | None:
    media = content.media
    if media is None:
        return None
    return ImageOut(
        media_type=media.media_type,
        width=media.width,
        height=media.height,
        bytes=media.byte_length,
        sha256=media.sha256.hex(),
        href=href,
    )


def _read_media(services: Services, tenant_id: int, sha256: bytes) -> bytes:
    """Raises Unavailable where the stored bytes are missing or damaged: not the client's fault."""
    try:
        return services.media.get(tenant_id, sha256)
    except ContentError as exc:
        raise Unavailable(exc.detail, code=exc.code, **exc.ids) from exc
