"""Submitting a job: checked, verified, committed in one transaction, then published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import uuid_utils.compat

from api.drafts import Draft, check_metadata, keep_media, verified
from api.ingest import known_corpus, no_corpus
from api.schemas import JobRequest, QueryRequest
from api.services import Services
from repick.content import Content, clean_text, read_image_source
from repick.errors import Conflict, ContentError, InvalidField, NotFound, Unavailable
from repick.jobs import JobKind
from repick.settings import Settings
from repick.store import contents, corpora, idempotency, jobs, registry, spaces
from repick.store.idempotency import Earlier
from repick.store.jobs import JobView, NewJob
from repick.store.registry import Registered
from repick.store.slices import Dispatch

INTERACTIVE_QUERIES = 16


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked request; `fields` has the path of each query for errors that come later."""

    request: JobRequest
    drafts: Sequence[Draft]
    fields: Sequence[str]
    key: str | None
    body_sha256: bytes

    @property
    def kind(self) -> JobKind:
        small = len(self.drafts) <= INTERACTIVE_QUERIES
        return JobKind(self.request.kind or ("interactive" if small else "batch"))

    @property
    def top_n(self) -> int:
        return self.request.top_n or self.request.k


@dataclass(frozen=True, slots=True)
class Submitted:
    view: JobView
    replayed: bool = False


class _Replay(Exception):
    """Somebody else's transaction has made this key's job: ours is rolled back."""

    def __init__(self, earlier: Earlier) -> None:
        super().__init__()
        self.earlier = earlier


def check(request: JobRequest, key: str | None, settings: Settings) -> Submission:
    """What can be checked without a server; raises InvalidField with the path of the value."""
    if (request.query is None) == (request.queries is None):
        raise InvalidField(
            "query", "give `query` or `queries`, one of them", code="one_of_query_queries"
        )
    if request.k > settings.max_k:
        raise InvalidField("k", f"k is at most {settings.max_k}")
    if request.top_n is not None and request.top_n > request.k:
        raise InvalidField("top_n", "top_n is at most k")
    queries, fields = _queries(request)
    if len(queries) > settings.max_queries:
        detail = f"a job has at most {settings.max_queries} queries"
        raise InvalidField("queries", detail, code="too_many_queries")
    if request.instruction is not None:
        clean_text(request.instruction, "instruction", settings.max_query_chars)
    check_metadata(request.metadata, "metadata")
    drafts = [_draft(one, path, settings) for one, path in zip(queries, fields, strict=True)]
    return Submission(request, drafts, fields, key, _hash(request))


def submit(
    services: Services, tenant_id: int, submission: Submission, trace: str | None = None
) -> Submitted:
    """Commit the job, or find the one that its idempotency key has made already.

    Raises NotFound (corpus), InvalidField (scorer, images), Conflict (the key was used for another
    body), Unavailable (no scorer is registered, or a server does not answer). A broker that is
    down is no error: the sweep publishes what waits.
    """
    if earlier := _earlier(services, tenant_id, submission):
        return _replay(services, tenant_id, submission, earlier)
    known_corpus(services, tenant_id, submission.request.corpus)
    scorer = _scorer(services, submission.request.scorer)
    queries = _contents(services, tenant_id, submission)
    try:
        view, dispatch = _commit(services, tenant_id, submission, scorer, queries, trace)
    except _Replay as replay:
        return _replay(services, tenant_id, submission, replay.earlier)
    services.publisher.job(dispatch)
    return Submitted(view)


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
        image = read_image_source(query.image, f"{field}.image", settings.max_image_bytes)
    return Draft(query.text, image)


def _hash(request: JobRequest) -> bytes:
    """Of the request as it was understood: the order of keys and blanks do not count."""
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).digest()


def _earlier(services: Services, tenant_id: int, submission: Submission) -> Earlier | None:
    if submission.key is None:
        return None
    with services.database.begin() as connection:
        return idempotency.find(connection, tenant_id, submission.key)


def _replay(
    services: Services, tenant_id: int, submission: Submission, earlier: Earlier
) -> Submitted:
    if earlier.body_sha256 != submission.body_sha256:
        detail = "this idempotency key was used with another body"
        raise Conflict(detail, code="idempotency_mismatch", job=earlier.job_id)
    with services.database.begin() as connection:
        view = jobs.view(connection, tenant_id, earlier.job_id)
    if view is None:
        raise NotFound("the job of this key was deleted", code="job_not_found", job=earlier.job_id)
    return Submitted(view, replayed=True)


def _scorer(services: Services, name: str | None) -> Registered:
    with services.database.begin() as connection:
        if name is None:
            found = registry.default_scorer(connection)
        else:
            found = registry.scorer_named(connection, name)
    if found is None and name is None:
        raise Unavailable("no worker has registered a scorer yet", code="no_scorer")
    if found is None:
        raise InvalidField("scorer", "no scorer of this name is registered", code="unknown_scorer")
    return found


def _contents(services: Services, tenant_id: int, submission: Submission) -> list[Content]:
    """Every query as content, its image's bytes kept; one bad image refuses the whole job."""
    outcomes = verified(services, submission.drafts, submission.request.instruction)
    queries: list[Content] = []
    for outcome, field in zip(outcomes, submission.fields, strict=True):
        if isinstance(outcome, ContentError):
            raise InvalidField(f"{field}.image", outcome.detail, code=outcome.code)
        queries.append(outcome)
    keep_media(services, tenant_id, submission.drafts, queries)
    return queries


def _commit(
    services: Services,
    tenant_id: int,
    submission: Submission,
    scorer: Registered,
    queries: Sequence[Content],
    trace: str | None,
) -> tuple[JobView, Dispatch]:
    """The promise; raises _Replay where another request with the key came first."""
    job_id = UUID(int=uuid_utils.compat.uuid7().int)
    request = submission.request
    with services.database.begin() as connection:
        if submission.key is not None:
            earlier = idempotency.claim(
                connection, tenant_id, submission.key, submission.body_sha256, job_id
            )
            if earlier is not None:
                raise _Replay(earlier)
        corpus = corpora.held(connection, tenant_id, request.corpus)
        if corpus is None:
            raise no_corpus()
        space = spaces.of_corpus(connection, tenant_id, corpus.id)[0]
        ids = contents.put(connection, tenant_id, queries)
        new = NewJob(
            id=job_id,
            tenant_id=tenant_id,
            kind=submission.kind,
            corpus_id=corpus.id,
            corpus_name=corpus.name,
            space_id=space.id,
            encoder_id=space.encoder_id,
            encoder_queue=registry.encoder_of(connection, space.encoder_id).queue,
            scorer_id=scorer.id,
            k=request.k,
            top_n=submission.top_n,
            query_content_ids=[ids[query.sha256] for query in queries],
            metadata=request.metadata,
            queries_per_slice=services.settings.retrieve_slice_queries,
            trace=trace,
        )
        dispatch = jobs.submit(connection, new)
        view = jobs.view(connection, tenant_id, job_id)
    assert view is not None
    return view, dispatch
