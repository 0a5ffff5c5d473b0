"""Cursors: where a list goes on, signed, so that nobody can make one up or use another's."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query
from itsdangerous import BadData, URLSafeSerializer

from api.problems import HttpError

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=2048, description="From `next` of the page before.")
]


class Cursors:
    """Signs positions; `purpose` names the list and its owner, and is part of the signature."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def write(self, purpose: str, position: str | int) -> str:
        return str(self._serializer(purpose).dumps(position))

    def read(self, purpose: str, cursor: str) -> str:
        """The position; raises HttpError 400 `bad_cursor` for what `write` did not give."""
        try:
            return str(self._serializer(purpose).loads(cursor))
        except (BadData, UnicodeError) as exc:
            detail = "the cursor is not one that this list gave"
            raise HttpError(400, "bad_cursor", detail) from exc

    def _serializer(self, purpose: str) -> URLSafeSerializer:
        return URLSafeSerializer(self._secret, salt=f"repick.cursor.{purpose}")


def next_link(path: str, **query: object) -> str:
    """A relative link with the given parameters, those that are None left out."""
    return f"{path}?{urlencode({k: v for k, v in query.items() if v is not None})}"
