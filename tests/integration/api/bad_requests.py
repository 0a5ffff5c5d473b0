"""Bad requests and what each gets: bodies that are no JSON of ours, and wrong jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests import bad_images
from tests.integration.api.harness import base64_of

PHOTO = base64_of(bad_images.photo("PNG"))
QUERY = {"text": "a cup"}
JOBS, ITEMS, CORPORA = "/v1/jobs", "/v1/corpora/things/items", "/v1/corpora"


def job(**changes: Any) -> dict[str, Any]:
    return {"corpus": "things", "query": QUERY} | changes


def queries(*several: Any, **changes: Any) -> dict[str, Any]:
    return {"corpus": "things", "queries": list(several)} | changes


def brought(*documents: Any, **changes: Any) -> dict[str, Any]:
    return {"query": QUERY, "documents": list(documents)} | changes


DOCUMENT = {"id": "a", "text": "a"}
DOC_ID = "documents[0].id"
NOT_WITH = ("not_with_documents",)
POLICY = "length_policy"
NO_ID = ("invalid_field", DOC_ID)


def items(*several: Any) -> dict[str, Any]:
    return {"items": list(several)}


@dataclass(frozen=True)
class Bad:
    name: str
    path: str
    body: Any
    status: int
    code: str
    field: str | None = None
    headers: Mapping[str, str] | None = None

    @property
    def method(self) -> str:
        return "PUT" if self.path == ITEMS else "POST"

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


RAW = (
    Bad("truncated", JOBS, b'{"corpus": "things", "query": {"te', 400, "invalid_json"),
    Bad("empty body", JOBS, b"", 400, "invalid_json"),
    # Looking for its end from every quote would take hours, in which nobody else is served.
    Bad("a string without end", JOBS, b'"' + b'\\"' * 2_000_000, 400, "invalid_json"),
    Bad("two values", JOBS, b"{} {}", 400, "invalid_json"),
    Bad("byte order mark", JOBS, b"\xef\xbb\xbf{}", 400, "invalid_json"),
    Bad("NaN", JOBS, b'{"k": NaN}', 422, "invalid_number", "body"),
    Bad("Infinity", JOBS, b'{"k": -Infinity}', 422, "invalid_number", "body"),
    Bad("1e999", JOBS, b'{"metadata": {"a": 1e999}}', 422, "invalid_number", "body"),
    Bad("5,000 digits", JOBS, b'{"k": ' + b"9" * 5000 + b"}", 422, "invalid_number", "body"),
    Bad("depth 10,000", JOBS, b"[" * 10_000 + b"]" * 10_000, 400, "too_deep"),
    Bad("depth 10,000 of objects", JOBS, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, "too_deep"),
    Bad("a million values", JOBS, b"[" + b"[]," * 1_000_000 + b"[]]", 413, "too_many_values"),
    Bad("depth 100", JOBS, b'{"metadata":' * 100 + b"1" + b"}" * 100, 400, "too_deep"),
    Bad("invalid UTF-8", JOBS, b'{"corpus": "\xff"}', 400, "invalid_utf8"),
    Bad("UTF-16", JOBS, '{"corpus": "things"}'.encode("utf-16"), 400, "invalid_utf8"),
    Bad("the same key twice", JOBS, b'{"k": 1, "k": 2}', 400, "duplicate_key"),
    Bad(
        "NUL",
        JOBS,
        b'{"corpus": "things", "queries": [{"text": "a"}, {"text": "a\\u0000b"}]}',
        422,
        "invalid_text",
        "queries[1].text",
    ),
    Bad("NUL in a key", JOBS, b'{"metadata": {"a\\u0000": 1}}', 422, "invalid_text", "metadata"),
    Bad(
        "lone surrogate",
        JOBS,
        b'{"corpus": "things", "query": {"text": "\\ud800"}}',
        422,
        "invalid_text",
        "query.text",
    ),
    Bad(
        "NUL in metadata of an item",
        ITEMS,
        b'{"items": [{"id": "a", "text": "b", "metadata": {"x": ["\\u0000"]}}]}',
        422,
        "invalid_text",
        "items[0].metadata.x[0]",
    ),
    Bad("an array", JOBS, [], 422, "invalid_field", "body"),
    Bad("null", JOBS, None, 422, "invalid_field", "body"),
)

NDJSON = {"Content-Type": "application/x-ndjson"}
OPTIONS = b'{"corpus": "things"}\n'


def lines(name: str, body: bytes, status: int, code: str, field: str | None = None) -> Bad:
    return Bad(f"NDJSON {name}", JOBS, body, status, code, field, NDJSON)


LINES = (
    lines("of nothing", b"", 400, "invalid_json"),
    lines("of blank lines", b"\n \n", 400, "invalid_json"),
    lines("without queries", OPTIONS, 422, "invalid_field", "queries"),
    lines("truncated", OPTIONS + b'{"text": "a"}\n{"te', 400, "invalid_json"),
    lines("of invalid UTF-8", OPTIONS + b'{"text": "\xff"}', 400, "invalid_utf8"),
    lines("options that are no object", b"[]\n{}", 422, "invalid_field", "body"),
    lines("queries in the options", b'{"queries": []}\n{}', 422, "unknown_field", "queries"),
    lines("unknown option", b'{"modle": 1}\n{"text": "a"}', 422, "unknown_field", "modle"),
    lines("NUL", OPTIONS + b'{"text": "a\\u0000"}', 422, "invalid_text", "queries[0].text"),
    lines("NaN", OPTIONS + b'{"text": NaN}', 422, "invalid_number", "queries[0]"),
    lines(
        "blank query", OPTIONS + b'{"text": "a"}\n{"text": " "}', 422, "blank", "queries[1].text"
    ),
    lines(
        "of too many values together",
        OPTIONS + (b'{"text": [' + b"[]," * 200_000 + b"[]]}\n") * 2,
        413,
        "too_many_values",
    ),
    lines("number", OPTIONS + b"5", 422, "invalid_field", "queries[0]"),
    lines(
        "of too many queries",
        OPTIONS + b'{"text": "a"}\n' * 3001,
        422,
        "too_many_queries",
        "queries",
    ),
)

MEDIA_TYPES = (
    Bad(
        "plain text",
        JOBS,
        job(),
        415,
        "unsupported_media_type",
        None,
        {"Content-Type": "text/plain"},
    ),
    Bad("no type", JOBS, job(), 415, "unsupported_media_type", None, {"Content-Type": ""}),
    Bad(
        "latin-1",
        JOBS,
        job(),
        415,
        "unsupported_media_type",
        None,
        {"Content-Type": "application/json; charset=latin-1"},
    ),
    *(
        Bad(
            f"parameters {name}",
            path,
            b"{}",
            415,
            "unsupported_media_type",
            None,
            {"Content-Type": f"application/json; {parameters}"},
        )
        for path in (JOBS, ITEMS)
        for name, parameters in (
            ("both whole and in parts", "charset*=a; charset*0=b"),
            ("of a long number", f"charset*{'9' * 5000}=a"),
        )
    ),
    Bad("gzip", JOBS, job(), 415, "unsupported_media_type", None, {"Content-Encoding": "gzip"}),
    Bad(
        "XML items",
        ITEMS,
        b"<a/>",
        415,
        "unsupported_media_type",
        None,
        {"Content-Type": "text/xml"},
    ),
)

JOB_BODIES = (
    Bad("unknown field", JOBS, job(modle="x"), 422, "unknown_field", "modle"),
    Bad(
        "unknown field of a query",
        JOBS,
        queries({"txt": "a"}),
        422,
        "unknown_field",
        "queries[0].txt",
    ),
    Bad("no corpus", JOBS, {"query": QUERY}, 422, "missing_field", "corpus"),
    Bad("text for a number", JOBS, job(k="5"), 422, "invalid_field", "k"),
    Bad("true for a number", JOBS, job(k=True), 422, "invalid_field", "k"),
    Bad("a fraction for a number", JOBS, job(k=5.5), 422, "invalid_field", "k"),
    Bad("a number for a text", JOBS, job(query={"text": 5}), 422, "invalid_field", "query.text"),
    Bad("a list for an object", JOBS, job(query=[]), 422, "invalid_field", "query"),
    Bad("no query", JOBS, {"corpus": "things"}, 422, "one_of_query_queries", "query"),
    Bad("query and queries", JOBS, job(queries=[QUERY]), 422, "one_of_query_queries", "query"),
    Bad("no queries", JOBS, queries(), 422, "invalid_field", "queries"),
    Bad("too many queries", JOBS, queries(*[QUERY] * 201), 422, "too_many_queries", "queries"),
    Bad("empty query", JOBS, job(query={}), 422, "blank", "query"),
    Bad("empty text", JOBS, job(query={"text": ""}), 422, "blank", "query.text"),
    Bad(
        "blank text", JOBS, queries(QUERY, {"text": " \t\n\u200b"}), 422, "blank", "queries[1].text"
    ),
    Bad(
        "text over the limit", JOBS, job(query={"text": "a" * 1001}), 422, "too_long", "query.text"
    ),
    Bad(
        "instruction over the limit",
        JOBS,
        job(instruction="a" * 1001),
        422,
        "too_long",
        "instruction",
    ),
    Bad("blank instruction", JOBS, job(instruction=" "), 422, "blank", "instruction"),
    Bad("k of 0", JOBS, job(k=0), 422, "invalid_field", "k"),
    Bad("k of −1", JOBS, job(k=-1), 422, "invalid_field", "k"),
    Bad("k of 10⁹", JOBS, job(k=10**9), 422, "invalid_field", "k"),
    Bad("k of 10³⁰", JOBS, job(k=10**30), 422, "invalid_field", "k"),
    Bad("top_n of 0", JOBS, job(top_n=0), 422, "invalid_field", "top_n"),
    Bad("filter that is no object", JOBS, job(filter="a"), 422, "invalid_field", "filter"),
    Bad("empty filter", JOBS, job(filter={}), 422, "invalid_filter", "filter"),
    Bad(
        "SQL as a field of a filter",
        JOBS,
        job(filter={"and": [{"field": "'; DROP TABLE item", "eq": "a"}]}),
        422,
        "invalid_filter_field",
        "filter.and[0].field",
    ),
    Bad(
        "unknown operator of a filter",
        JOBS,
        job(filter={"field": "a", "regex": ".*"}),
        422,
        "unknown_operator",
        "filter.regex",
    ),
    Bad(
        "filter of 1,000 terms",
        JOBS,
        job(filter={"or": [{"field": "a", "eq": 1}] * 1000}),
        422,
        "filter_too_large",
        "filter",
    ),
    Bad(
        "mixed types in a filter",
        JOBS,
        job(filter={"field": "a", "range": {"gte": 1, "lt": "b"}}),
        422,
        "type_mismatch",
        "filter.range",
    ),
    Bad("corpus and documents", JOBS, job(documents=[DOCUMENT]), 422, *NOT_WITH, "corpus"),
    Bad("k with documents", JOBS, brought(DOCUMENT, k=5), 422, *NOT_WITH, "k"),
    Bad("filter with documents", JOBS, brought(DOCUMENT, filter={}), 422, *NOT_WITH, "filter"),
    Bad("no documents", JOBS, brought(), 422, "invalid_field", "documents"),
    Bad(
        "the same document twice",
        JOBS,
        brought(DOCUMENT, {"id": "b", "text": "b"}, DOCUMENT),
        422,
        "duplicate_id",
        "documents[2].id",
    ),
    Bad(
        "too many documents",
        JOBS,
        brought(*[{"id": str(no), "text": "a"} for no in range(1001)]),
        422,
        "too_many_documents",
        "documents",
    ),
    Bad(
        "too many pairs",
        JOBS,
        {
            "queries": [QUERY] * 200,
            "documents": [{"id": str(no), "text": "a"} for no in range(501)],
        },
        422,
        "too_many_pairs",
        "documents",
    ),
    Bad("empty document", JOBS, brought({"id": "a"}), 422, "blank", "documents[0]"),
    Bad("document without an id", JOBS, brought({"text": "a"}), 422, "missing_field", DOC_ID),
    Bad("document with an empty id", JOBS, brought({"id": "", "text": "a"}), 422, *NO_ID),
    Bad("control in an id", JOBS, brought({"id": "a\n", "text": "a"}), 422, "invalid_id", DOC_ID),
    Bad(
        "unknown field of a document",
        JOBS,
        brought({"id": "a", "text": "a", "metadata": {}}),
        422,
        "unknown_field",
        "documents[0].metadata",
    ),
    Bad(
        "bad base64 of a document",
        JOBS,
        brought({"id": "a", "image": "?"}),
        422,
        "invalid_base64",
        "documents[0].image",
    ),
    Bad(
        "an address for a document",
        JOBS,
        brought({"id": "a", "image": "file:///etc/passwd"}),
        422,
        "urls_disabled",
        "documents[0].image",
    ),
    Bad("blend over 1", JOBS, job(blend=1.5), 422, "invalid_field", "blend"),
    Bad("blend as a text", JOBS, job(blend="0.5"), 422, "invalid_field", "blend"),
    Bad(
        "blend of documents without scores",
        JOBS,
        brought(DOCUMENT | {"score": 1}, {"id": "b", "text": "b"}, blend=0.5),
        422,
        "blend_without_score",
        "documents[1].score",
    ),
    Bad(
        "blend without a margin",
        JOBS,
        job(blend=0.5, scorer="qwen-tiny:paper"),
        422,
        "no_margin",
        "blend",
    ),
    Bad("score under 0", JOBS, job(min_score=-0.1), 422, "invalid_field", "min_score"),
    Bad("unknown length policy", JOBS, job(length_policy="cut"), 422, "invalid_field", POLICY),
    Bad(
        "length policy that nobody serves",
        JOBS,
        job(length_policy="truncate", scorer="qwen-tiny:paper"),
        422,
        "policy_not_served",
        POLICY,
    ),
    Bad("time limit of 0", JOBS, job(time_limit_s=0), 422, "invalid_field", "time_limit_s"),
    Bad("time limit of 10⁹ s", JOBS, job(time_limit_s=10**9), 422, "invalid_field", "time_limit_s"),
    Bad("top_n over k", JOBS, job(k=5, top_n=6), 422, "invalid_field", "top_n"),
    Bad("unknown kind", JOBS, job(kind="nightly"), 422, "invalid_field", "kind"),
    Bad("unknown corpus", JOBS, job(corpus="nothing"), 404, "corpus_not_found"),
    Bad("corpus of a strange name", JOBS, job(corpus="'; DROP TABLE job"), 404, "corpus_not_found"),
    Bad("unknown scorer", JOBS, job(scorer="nothing"), 422, "unknown_scorer", "scorer"),
    Bad("unknown readout", JOBS, job(scorer="qwen-tiny:magic"), 422, "unknown_scorer", "scorer"),
    Bad("a path for a scorer", JOBS, job(scorer="../../x"), 422, "invalid_field", "scorer"),
    Bad("a repository for a scorer", JOBS, job(scorer="org/model"), 422, "invalid_field", "scorer"),
    Bad(
        "an address for a scorer",
        JOBS,
        job(scorer="https://example.com/org/model"),
        422,
        "invalid_field",
        "scorer",
    ),
    Bad(
        "scorer with a line break", JOBS, job(scorer="qwen-tiny\n"), 422, "invalid_field", "scorer"
    ),
    Bad(
        "metadata of 65 KiB",
        JOBS,
        job(metadata={"a": "b" * 65_536}),
        422,
        "metadata_too_large",
        "metadata",
    ),
    Bad(
        "key with a blank",
        JOBS,
        job(),
        422,
        "invalid_idempotency_key",
        "Idempotency-Key",
        {"Idempotency-Key": "a b"},
    ),
    Bad(
        "key too long",
        JOBS,
        job(),
        422,
        "invalid_idempotency_key",
        "Idempotency-Key",
        {"Idempotency-Key": "a" * 256},
    ),
)
