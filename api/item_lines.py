"""A body of JSON lines becomes a request: an item a line, as many as fit under the body's cap."""

from __future__ import annotations

from api import payload
from api.schemas import ItemRequest, ItemsRequest
from repick.errors import InvalidField


def parse_lines(body: bytes) -> ItemsRequest:
    """The items of all lines that are not blank, of one request: a wrong line refuses them all.

    Raises what strict_json and `validate` raise, with the number of the line, from 1.
    """
    items = payload.parse_lines(body, ItemRequest)
    if not items:
        raise InvalidField("body", "there is no item", code="missing_field")
    # Every line is validated; how many there are is bounded by the body's caps alone.
    return ItemsRequest.model_construct(items=items)
