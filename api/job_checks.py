"""A request for a job, checked as far as that goes without a server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from api import documents
from api.documents import DocumentDraft
from api.drafts import Draft, check_metadata, image_source
from api.schemas import JobRequest, QueryRequest
from repick import filters
from repick.content import clean_text
from repick.errors import InvalidField
from repick.jobs import JobKind
from repick.settings import Settings

INTERACTIVE_QUERIES = 16
DEFAULT_K = 20


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked request; `fields` has the path of each query for errors that come later."""

    request: JobRequest
    drafts: Sequence[Draft]
    fields: Sequence[str]
    documents: Sequence[DocumentDraft]
    key: str | None
    body_sha256: bytes

    @property
    def kind(self) -> JobKind:
        small = len(self.drafts) <= INTERACTIVE_QUERIES
        return JobKind(self.request.kind or ("interactive" if small else "batch"))

    @property
    def k(self) -> int:
        return len(self.documents) or self.request.k or DEFAULT_K

    @property
    def has_images(self) -> bool:
        """Then it waits for more than Postgres: for a decoder, a media store, another's server."""
        return any(one.image for one in self.drafts) or any(
            one.draft.image for one in self.documents
        )

    @property
    def pairs(self) -> int:
        """What it costs at most."""
        return len(self.drafts) * self.k

    @property
    def top_n(self) -> int:
        return min(self.request.top_n or self.k, self.k)


def check(
    request: JobRequest, key: str | None, settings: Settings, *, streamed: bool = False
) -> Submission:
    """Raises InvalidField with the path of the value; a `streamed` one may have more queries."""
    if (request.query is None) == (request.queries is None):
        raise InvalidField(
            "query", "give `query` or `queries`, one of them", code="one_of_query_queries"
        )
    _check_source(request, settings)
    queries, fields = _queries(request)
    most = settings.max_streamed_queries if streamed else settings.max_queries
    if len(queries) > most:
        detail = f"a job has at most {most} queries"
        raise InvalidField("queries", detail, code="too_many_queries")
    if request.instruction is not None:
        clean_text(request.instruction, "instruction", settings.max_query_chars)
    check_metadata(request.metadata, "metadata")
    drafts = [_draft(one, path, settings) for one, path in zip(queries, fields, strict=True)]
    sent = documents.read(request.documents or (), settings)
    if len(queries) * len(sent) > settings.max_sent_pairs:
        detail = f"queries times documents are at most {settings.max_sent_pairs}"
        raise InvalidField("documents", detail, code="too_many_pairs")
    if request.blend > 0:
        _check_scores(sent)
    return Submission(request, drafts, fields, sent, key, _hash(request))


def _check_source(request: JobRequest, settings: Settings) -> None:
    """A corpus with what the coarse stage is told, or documents without it."""
    if request.corpus is None and request.documents is None:
        raise InvalidField("corpus", "give `corpus` or `documents`", code="missing_field")
    if request.documents is not None:
        for name in ("corpus", "k", "filter"):
            if getattr(request, name) is not None:
                detail = f"`{name}` does not go with `documents`"
                raise InvalidField(name, detail, code="not_with_documents")
        return
    k = request.k or DEFAULT_K
    if k > settings.max_k:
        raise InvalidField("k", f"k is at most {settings.max_k}")
    if request.top_n is not None and request.top_n > k:
        raise InvalidField("top_n", "top_n is at most k")
    if request.filter is not None:
        filters.parse(request.filter)


def _check_scores(sent: Sequence[DocumentDraft]) -> None:
    for no, one in enumerate(sent):
        if one.score is None:
            detail = "a blend needs a score of every document"
            raise InvalidField(f"documents[{no}].score", detail, code="blend_without_score")


def _queries(request: JobRequest) -> tuple[Sequence[QueryRequest], list[str]]:
    if request.query is not None:
        return [request.query], ["query"]
    several = request.queries or []
    return several, [f"queries[{no}]" for no in range(len(several))]


def _draft(query: QueryRequest, field: str, settings: Settings) -> Draft:
    if query.text is None and query.image is None:
        raise InvalidField(field, "a query has a text, an image, or both", code="blank")
    if query.text is not None:
        clean_text(query.text, f"{field}.text", settings.max_query_chars)
    image = None
    if query.image is not None:
        image = image_source(query.image, field, settings)
    return Draft(query.text, image)


def _hash(request: JobRequest) -> bytes:
    """Of the request as it was understood: the order of keys and blanks do not count."""
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).digest()
