"""Errors become application/problem+json (RFC 9457); HTTP statuses are known here and nowhere else.

Fields: `type`, `title`, `status`, `detail`, a stable `code` for programs, `request_id`, and where
they apply `field` (the path of the offending value), `errors` (all such fields) and `ids`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from repick.errors import (
    Conflict,
    InputError,
    InvalidField,
    NotFound,
    NotInstalled,
    RepickError,
    Unavailable,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:;"
    " script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)
"""Of the docs page, whose first script stands in the page."""


class HttpError(RepickError):
    """An error that only HTTP knows: it names its own status, and headers that go with it."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail, code=code)
        self.status = status
        self.headers = dict(headers or {})


class InvalidFields(InputError):
    """Several wrong fields at once, each as {field, code, detail}."""

    code = "invalid_field"

    def __init__(self, errors: Sequence[Mapping[str, str]]) -> None:
        super().__init__(errors[0]["detail"], code=errors[0]["code"])
        self.errors = list(errors)


_STATUS: Sequence[tuple[type[RepickError], int]] = (
    (InputError, 422),
    (NotFound, 404),
    (Conflict, 409),
    (NotInstalled, 501),
    (Unavailable, 503),
)
_VALIDATION_CODES = {
    "extra_forbidden": "unknown_field",
    "missing": "missing_field",
}


def status_of(error: RepickError) -> int:
    if isinstance(error, HttpError):
        return error.status
    if isinstance(error, InvalidField) and error.code == "too_large":
        return 413
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    request_id = getattr(request.state, "request_id", None)
    body = {
        "type": f"urn:repick:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    } | {name: value for name, value in more.items() if value}
    # All of them here too: the answer to a defect (500) does not pass through our middleware.
    always = SECURITY_HEADERS | ({"X-Request-ID": request_id} if request_id else {})
    return JSONResponse(body, status, {**always, **(headers or {})}, media_type=MEDIA_TYPE)


def field_path(location: Sequence[str | int]) -> str:
    """`("queries", 2, "text")` as `queries[2].text`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


_DETAILS = {
    "dict_type": "must be an object, as in {…}",
    "model_type": "must be an object, as in {…}",
    "model_attributes_type": "must be an object, as in {…}",
    "extra_forbidden": "there is no such field here",
    "uuid_parsing": "not a job's id",
    "uuid_type": "not a job's id",
}
"""In place of pydantic's own words where those name what is inside."""


def validation_errors(errors: Sequence[Any], skip: int = 0) -> list[dict[str, str]]:
    """Pydantic's errors as ours, without the values; `skip` leading parts of each path go."""
    return [
        {
            "field": field_path(error["loc"][skip:]),
            "code": _VALIDATION_CODES.get(error["type"], "invalid_field"),
            "detail": _DETAILS.get(error["type"], str(error["msg"])),
        }
        for error in errors[:20]
    ]


def install(app: FastAPI) -> None:
    """Make every error of the application a problem."""
    app.add_exception_handler(RepickError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _defect)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RepickError)
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return await _defect(request, error)
    headers = dict(error.headers) if isinstance(error, HttpError) else {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_S)
        log.warning("unavailable", code=error.code, reason=error.detail, **error.ids)
    if isinstance(error, InvalidFields):
        first, errors = error.errors[0]["field"], error.errors
        return problem(request, status, error.code, error.detail, field=first, errors=errors)
    field = error.field if isinstance(error, InvalidField) else None
    return problem(request, status, error.code, error.detail, headers, field=field, ids=error.ids)


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    """A wrong parameter of the path, the query string or a header."""
    assert isinstance(error, RequestValidationError)
    errors = validation_errors(error.errors(), skip=1)
    first = errors[0]
    return problem(
        request, 422, first["code"], first["detail"], field=first["field"], errors=errors
    )


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_")
    return problem(request, error.status_code, code, phrase, error.headers)


async def _gone(request: Request, error: Exception) -> JSONResponse:
    """Nobody reads this; it keeps a broken upload from being logged as a defect."""
    return problem(request, 400, "client_disconnected", "the request did not arrive in full")


async def _defect(request: Request, error: Exception) -> JSONResponse:
    # This runs outside of our middleware, which has bound the id and let go of it.
    request_id = getattr(request.state, "request_id", None)
    log.error("defect", exc_info=error, path=request.url.path, request_id=request_id)
    detail = "something went wrong on our side; the request id finds it in the log"
    return problem(request, 500, "internal_error", detail)
