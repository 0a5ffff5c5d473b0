"""What FastAPI cannot infer: bodies that we read ourselves, error answers, the bearer scheme."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from api.schedule_schemas import (
    RunRequest,
    SchedulePatch,
    ScheduleRequest,
    StandingQueriesRequest,
)
from api.schemas import CalibrationRequest, CorpusRequest, ItemsRequest, JobRequest
from api.webhook_views import WebhookRequest
from repick.content.header import MEDIA_TYPES as IMAGE_TYPES
from repick.exports import MEDIA_TYPES

_BODIES = (
    CalibrationRequest,
    CorpusRequest,
    ItemsRequest,
    JobRequest,
    RunRequest,
    SchedulePatch,
    ScheduleRequest,
    StandingQueriesRequest,
    WebhookRequest,
)
Responses = dict[int | str, dict[str, Any]]

_REF = "#/components/schemas/{model}"
_EXAMPLES = {
    400: ("bad_cursor", "the cursor is not one that this list gave"),
    401: ("invalid_key", "the key is unknown, expired or revoked"),
    403: ("missing_scope", "this key does not have the scope `submit`"),
    404: ("corpus_not_found", "there is no corpus of this name: GET /v1/corpora lists them"),
    408: ("body_timeout", "the body did not arrive in time"),
    409: ("idempotency_mismatch", "this idempotency key was used with another body"),
    413: ("body_too_large", "the body is over 67108864 bytes"),
    415: ("unsupported_media_type", "the body must be application/json in UTF-8"),
    501: ("no_pyarrow", "Parquet needs repick[parquet] on the server"),
    422: ("invalid_field", "Input should be greater than or equal to 1"),
    429: ("queue_full", "1990000 pairs of your jobs wait, of at most 2000000; try again later"),
    503: ("unavailable", "the database did not answer"),
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable, for programs."},
        "request_id": {"type": "string"},
        "field": {"type": "string", "description": "Path of the wrong value: `queries[2].text`."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {n: {"type": "string"} for n in ("field", "code", "detail")},
            },
        },
        "ids": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


_REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Stands in our logs and comes back with the answer; letters, digits, `.`, `_`"
    " and `-`, up to 64. Another one is replaced.",
}


def errors(*statuses: int) -> Responses:
    """Documented error answers; 401, 422, 429 and 503 may come from every route, 408 where 413."""
    late = {408} if 413 in statuses else set()
    found = {401, 403, 422, 429, 503, *late, *statuses}
    return {status: _problem_answer(status) for status in sorted(found)}


def json_body(model: type, **examples: Any) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a JSON body itself."""
    return {"requestBody": {"required": True, "content": _json(model, examples)}}


def job_body(model: type, examples: Any) -> dict[str, Any]:
    """As `json_body`, with NDJSON beside it: a line of options, then a query a line."""
    lines = {
        "schema": {
            "type": "string",
            "description": "The job without queries, then a query a line.",
        },
        "example": '{"corpus": "photos", "k": 20}\n{"text": "a cat"}\n{"text": "a dog"}\n',
    }
    return {
        "requestBody": {
            "required": True,
            "content": _json(model, examples) | {"application/x-ndjson": lines},
        }
    }


def items_body(model: type, example: Any) -> dict[str, Any]:
    """As `json_body`, with the multipart form beside it."""
    form = {
        "schema": {
            "type": "object",
            "required": ["items"],
            "properties": {"items": {"type": "string", "description": "JSON of the other form."}},
            "additionalProperties": {"type": "string", "format": "binary"},
        }
    }
    lines = {"schema": {"type": "string", "description": "An item of the other form a line."}}
    content = _json(model, {"items": {"value": example}})
    content |= {"multipart/form-data": form, "application/x-ndjson": lines}
    return {"requestBody": {"required": True, "content": content}}


def install(app: FastAPI) -> None:
    """Build /openapi.json once, with the schemas of the bodies and of problems."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _build(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    models = [(model, "validation") for model in _BODIES]
    _, definitions = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"], Problem=_PROBLEM)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    components["parameters"] = {"RequestId": _REQUEST_ID}
    for path, operations in document["paths"].items():
        if path.startswith("/v1/"):
            for operation in operations.values():
                operation["security"] = [{"key": []}]
                parameters = operation.setdefault("parameters", [])
                parameters.append({"$ref": "#/components/parameters/RequestId"})
    return document


def _json(model: type, examples: Any) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"application/json": {"schema": schema, "examples": examples}}


def _problem_answer(status: int) -> dict[str, Any]:
    code, detail = _EXAMPLES[status]
    example = {"type": f"urn:repick:problem:{code}", "status": status, "code": code}
    schema = {"$ref": _REF.format(model="Problem")}
    content = {"schema": schema, "example": example | {"detail": detail}}
    return {"description": detail, "content": {"application/problem+json": content}}


_EVENT = {
    "type": "object",
    "description": "One event; its data is the job as JSON.",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
EVENTS: Responses = {
    200: {"content": {"text/event-stream": {"schema": _EVENT}}},
    204: {"description": "The client was told of the job's end already."},
    **errors(404),
}
RANKINGS: Responses = {
    200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
    **errors(400, 404),
}
DIFF: Responses = {
    200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
    **errors(400, 404, 409),
}
IMAGE: Responses = {
    200: {
        "description": "The bytes.",
        "content": {
            name: {"schema": {"type": "string", "format": "binary"}} for name in IMAGE_TYPES
        },
    },
    304: {"description": "It is the image that `If-None-Match` names."},
    **errors(404),
}
EXPORT: Responses = {
    200: {
        "description": "The file.",
        "content": {
            name.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
            for name in MEDIA_TYPES.values()
        },
    },
    **errors(404, 501),
}
REPORT: Responses = {
    200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}},
    **errors(404, 409, 501),
}
