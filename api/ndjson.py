"""NDJSON: a JSON value a line. A job of many queries arrives so, and rankings may leave so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import islice
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from api import strict_json
from api.payload import validate
from api.problems import HttpError
from api.schemas import JobRequest
from repick.errors import InvalidField

MEDIA_TYPE = "application/x-ndjson"
FORM = "the first line holds the job's options, each line after it a query"


def wanted(request: Request) -> bool:
    """Whether the client asks for NDJSON by name."""
    accepted = ",".join(request.headers.getlist("accept")).split(",")
    return any(one.split(";")[0].strip().lower() == MEDIA_TYPE for one in accepted)


def job(body: bytes, most: int) -> JobRequest:
    """A job out of a line of its options and a line a query; blank lines do not count.

    More than `most` queries are refused before they are all read. Raises what strict_json and
    `validate` raise, with the number of the line in the sentence and the path of the value as if
    all had been sent as one JSON body.
    """
    lines = ((no, line) for no, line in enumerate(BytesIO(body), start=1) if line.strip())
    first = next(lines, None)
    if first is None:
        raise HttpError(400, "invalid_json", FORM)
    room = strict_json.Room()
    options = _parse(*first, "", room)
    if not isinstance(options, dict):
        raise InvalidField("body", "the first line is an object of options", code="invalid_field")
    if options.keys() & {"text", "image"}:
        raise InvalidField("body", f"line 1: this is a query: {FORM}", code="unknown_field")
    for name in ("query", "queries"):
        if name in options:
            raise InvalidField(name, "queries have lines of their own", code="unknown_field")
    queries = [_parse(*line, f"queries[{no}]", room) for no, line in enumerate(islice(lines, most))]
    if not queries:
        raise InvalidField("queries", f"there is no query: {FORM}")
    if next(lines, None) is not None:
        detail = f"a job has at most {most} queries"
        raise InvalidField("queries", detail, code="too_many_queries")
    return validate(options | {"queries": queries}, JobRequest)


def _parse(no: int, line: bytes, path: str, room: strict_json.Room) -> Any:
    try:
        return strict_json.parse_line(line, no, room)
    except InvalidField as exc:
        inner = "" if exc.field == "body" else exc.field
        field = f"{path}.{inner}" if path and inner else path or inner or "body"
        raise InvalidField(field, f"line {no}: {exc.detail}", code=exc.code) from exc


def lines(values: Iterable[BaseModel]) -> Iterator[str]:
    """A line a value, for an answer that is made as it is sent."""
    for value in values:
        yield value.model_dump_json() + "\n"
