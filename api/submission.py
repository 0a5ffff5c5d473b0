"""Submitting a job: checked, verified, committed in one transaction, then published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import uuid_utils.compat

from api.documents import Verified, rows, verify
from api.drafts import fetched, keep_media, verified
from api.ingest import known_corpus, no_corpus
from api.job_checks import Submission
from api.schemas import JobRequest
from api.services import Services
from repick.content import Content
from repick.errors import Conflict, ContentError, InvalidField, NotFound, Unavailable
from repick.specs import LengthPolicy, Readout
from repick.store import contents, documents, idempotency, jobs, registry, sources
from repick.store.idempotency import Earlier
from repick.store.jobs import JobView, NewJob
from repick.store.registry import Registered
from repick.store.slices import Dispatch
from repick.store.sources import Source


@dataclass(frozen=True, slots=True)
class Submitted:
    view: JobView
    replayed: bool = False


class _Replay(Exception):
    """Somebody else's transaction has made this key's job: ours is rolled back."""

    def __init__(self, earlier: Earlier) -> None:
        super().__init__()
        self.earlier = earlier


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
    corpus = submission.request.corpus
    if corpus is not None and any(draft.image for draft in submission.drafts):
        # Before work that may be in vain; without images the commit finds out soon enough.
        known_corpus(services, tenant_id, corpus)
    scorer = _scorer(services, submission.request)
    queries = _contents(services, tenant_id, submission)
    sent = verify(services, tenant_id, submission.documents)
    try:
        promise = _Promise(submission, scorer, queries, sent, trace)
        view, dispatch = _commit(services, tenant_id, promise)
    except _Replay as replay:
        return _replay(services, tenant_id, submission, replay.earlier)
    services.publisher.job(dispatch)
    return Submitted(view)


def _earlier(services: Services, tenant_id: int, submission: Submission) -> Earlier | None:
    if submission.key is None:
        return None
    with services.database.read() as connection:
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


def _scorer(services: Services, request: JobRequest) -> Registered:
    """The scorer that the request names, of the length policy that it asks for."""
    with services.database.read() as connection:
        if request.scorer is None:
            found = registry.default_scorer(connection)
        else:
            found = registry.scorer_named(connection, request.scorer)
        if found is not None and request.length_policy is not None:
            found = registry.with_policy(connection, found, LengthPolicy(request.length_policy))
            if found is None:
                detail = "no worker serves this scorer with this policy"
                raise InvalidField("length_policy", detail, code="policy_not_served")
    if found is None and request.scorer is None:
        raise Unavailable("no worker has registered a scorer yet", code="no_scorer")
    if found is None:
        raise InvalidField("scorer", "no scorer of this name is registered", code="unknown_scorer")
    if request.blend > 0 and found.specification["readout"] == Readout.PAPER:
        raise InvalidField("blend", "this readout has no margin to blend", code="no_margin")
    return found


def _contents(services: Services, tenant_id: int, submission: Submission) -> list[Content]:
    """Every query as content, its image's bytes kept; one bad image refuses the whole job."""
    drafts = fetched(services, submission.drafts)
    outcomes = verified(services, drafts, submission.request.instruction)
    queries: list[Content] = []
    for outcome, field in zip(outcomes, submission.fields, strict=True):
        if isinstance(outcome, ContentError):
            raise InvalidField(f"{field}.image", outcome.detail, code=outcome.code)
        queries.append(outcome)
    keep_media(services, tenant_id, drafts, queries)
    return queries


@dataclass(frozen=True, slots=True)
class _Promise:
    """What a job is committed of: everything verified, nothing stored but the images' bytes."""

    submission: Submission
    scorer: Registered
    queries: Sequence[Content]
    documents: Sequence[Verified]
    trace: str | None

    @property
    def contents(self) -> list[Content]:
        sent = [one.content for one in self.documents if isinstance(one.content, Content)]
        return [*self.queries, *sent]


def _commit(services: Services, tenant_id: int, promise: _Promise) -> tuple[JobView, Dispatch]:
    """The promise; raises _Replay where another request with the key came first."""
    job_id = UUID(int=uuid_utils.compat.uuid7().int)
    submission = promise.submission
    with services.database.begin() as connection:
        if submission.key is not None:
            earlier = idempotency.claim(
                connection, tenant_id, submission.key, submission.body_sha256, job_id
            )
            if earlier is not None:
                raise _Replay(earlier)
        name = submission.request.corpus
        source = sources.corpus(connection, tenant_id, name) if name is not None else Source()
        if source is None:
            raise no_corpus()
        ids = contents.put(connection, tenant_id, promise.contents)
        new = _new_job(services, tenant_id, job_id, promise, source, ids)
        if promise.documents:
            sent = rows(promise.documents, ids)
            dispatch = documents.submit(connection, new, sent, services.settings.slice_pairs)
        else:
            dispatch = jobs.submit(connection, new)
        view = jobs.view(connection, tenant_id, job_id)
    assert view is not None
    return view, dispatch


def _new_job(
    services: Services,
    tenant_id: int,
    job_id: UUID,
    promise: _Promise,
    source: Source,
    ids: Mapping[bytes, int],
) -> NewJob:
    submission, request = promise.submission, promise.submission.request
    return NewJob(
        id=job_id,
        tenant_id=tenant_id,
        kind=submission.kind,
        corpus_id=source.corpus_id,
        corpus_name=source.corpus_name,
        space_id=source.space_id,
        encoder_id=source.encoder_id,
        encoder_queue=source.encoder_queue,
        scorer_id=promise.scorer.id,
        k=submission.k,
        top_n=submission.top_n,
        query_content_ids=[ids[query.sha256] for query in promise.queries],
        filter=request.filter,
        blend=request.blend,
        min_score=request.min_score,
        time_limit=timedelta(seconds=request.time_limit_s) if request.time_limit_s else None,
        metadata=request.metadata,
        queries_per_slice=services.settings.retrieve_slice_queries,
        trace=promise.trace,
    )
