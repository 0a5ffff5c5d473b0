"""A body of JSON lines becomes a request: an item a line, as many as fit under the body's caps."""

from __future__ import annotations

from io import BytesIO

from api import strict_json
from api.payload import validate
from api.problems import HttpError
from api.schemas import ItemRequest, ItemsRequest
from repick.errors import InvalidField


def parse_lines(body: bytes) -> ItemsRequest:
    """The items of all lines that are not blank, of one request: a wrong line refuses them all.

    Raises what strict_json and `validate` raise, with the number of the line, from 1.
    """
    room = strict_json.Room()
    items = [_item(line, no, room) for no, line in enumerate(BytesIO(body), 1) if line.strip()]
    if not items:
        raise InvalidField("body", "there is no item", code="missing_field")
    # Every line is validated; how many there are is bounded by the body's caps alone.
    return ItemsRequest.model_construct(items=items)


def _item(line: bytes, no: int, room: strict_json.Room) -> ItemRequest:
    try:
        value = strict_json.parse(line, room)
    except HttpError as exc:
        raise HttpError(exc.status, exc.code, f"line {no}: {exc.detail}") from exc
    except InvalidField as exc:
        field = f"lines[{no}].{exc.field}".removesuffix(".body")
        raise InvalidField(field, exc.detail, code=exc.code) from exc
    return validate(value, ItemRequest, f"lines[{no}].")
