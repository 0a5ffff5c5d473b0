"""A request's body becomes a model: after authentication, off the event loop, strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.message import Message
from io import BytesIO
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from api import strict_json
from api.problems import HttpError, InvalidFields, validation_errors
from repick.errors import InvalidField

Model = TypeVar("Model", bound=BaseModel)
SMALL_BODY = 16 * 1024
"""Bytes that are parsed sooner than a thread takes over."""


def content_type(request: Request) -> Message:
    """The Content-Type header, parsed; raises 415 for a compressed body or odd parameters."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise unsupported("compressed bodies are not accepted")
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    if not readable(message, "content-type"):
        raise unsupported("the parameters of the Content-Type cannot be read")
    return message


def readable(message: Message, header: str) -> bool:
    """Whether a header's parameters can be read: `email` has no error of its own for others."""
    try:
        message.get_params(header=header)
    except (TypeError, ValueError):
        return False
    return True


def unsupported(detail: str) -> HttpError:
    return HttpError(415, "unsupported_media_type", detail)


async def read_json(request: Request, model: type[Model]) -> Model:
    """The body as a model; raises what strict_json and `validate` raise, and 415."""
    return await read(request, {"application/json": lambda body: parse(body, model)})


async def read(request: Request, forms: Mapping[str, Callable[[bytes], Model]]) -> Model:
    """The body as what the function of its media type makes of it; 415 where there is none."""
    form = form_of(request, forms)
    body = await request.body()
    if len(body) <= SMALL_BODY:
        return form(body)
    return await run_in_threadpool(form, body)


def form_of(
    request: Request, forms: Mapping[str, Callable[[bytes], Model]]
) -> Callable[[bytes], Model]:
    """The function of the body's media type; raises 415 where there is none."""
    declared = content_type(request)
    charset = str(declared.get_param("charset", "utf-8")).lower()
    form = forms.get(declared.get_content_type())
    if form is None or charset not in {"utf-8", "utf8"}:
        raise unsupported(f"the body must be {' or '.join(forms)} in UTF-8")
    return form


def is_small(request: Request) -> bool:
    """Whether the request says that its body is so small that anybody's may be read."""
    length = request.headers.get("content-length", "")
    return length.isascii() and length.isdigit() and len(length) < 9 and int(length) <= SMALL_BODY


def parse(body: bytes, model: type[Model]) -> Model:
    return validate(strict_json.parse(body), model)


def parse_lines(body: bytes, model: type[Model]) -> list[Model]:
    """A value a line, blank ones left out; errors give the number of the line, from 1."""
    room, lines = strict_json.Room(), enumerate(BytesIO(body), start=1)
    return [_parse_line(line, no, room, model) for no, line in lines if line.strip()]


def _parse_line(line: bytes, no: int, room: strict_json.Room, model: type[Model]) -> Model:
    try:
        value = strict_json.parse_line(line, no, room)
    except InvalidField as exc:
        field = f"lines[{no}].{exc.field}".removesuffix(".body")
        raise InvalidField(field, exc.detail, code=exc.code) from exc
    return validate(value, model, f"lines[{no}].")


def validate(value: object, model: type[Model], prefix: str = "") -> Model:
    """Raises InvalidFields with the path of each wrong field, `prefix` before it."""
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        errors = validation_errors(exc.errors(include_url=False, include_input=False))
        for error in errors:
            error["field"] = (prefix + error["field"]).rstrip(".") or "body"
        raise InvalidFields(errors) from None
