"""Submitting a job: checked, verified, committed in one transaction, then published."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
import uuid_utils.compat

from api.documents import Verified, rows, verify
from api.drafts import fetched, keep_media, verified
from api.ingest import known_corpus, no_corpus
from api.job_checks import Submission
from api.services import Services
from repick.content import Content
from repick.errors import (
    CommitUnknown,
    Conflict,
    ContentError,
    InvalidField,
    NotFound,
    Unavailable,
)
from repick.store import contents, documents, idempotency, jobs
from repick.store import promise as over_corpus
from repick.store.database import Connection
from repick.store.idempotency import Earlier
from repick.store.jobs import AlreadyStored, JobView, NewJob
from repick.store.registry import Registered
from repick.store.slices import Dispatch

log = structlog.get_logger(__name__)


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
    down is no error: the sweep publishes what waits. HttpError 429 where too much waits already.
    """
    if earlier := _earlier(services, tenant_id, submission):
        return _replay(services, tenant_id, submission, earlier)
    corpus = submission.request.corpus
    if corpus is not None and any(draft.image for draft in submission.drafts):
        # Before work that may be in vain; without images the commit finds out soon enough.
        known_corpus(services, tenant_id, corpus)
    scorer = services.scorers.of(submission.request)
    queries = _contents(services, tenant_id, submission)
    sent = verify(services, tenant_id, submission.documents)
    try:
        promise = _Promise(submission, scorer, queries, sent, trace)
        with services.backlog.reserved(tenant_id, submission.pairs):
            view, dispatch = _committed(services, tenant_id, promise)
    except _Replay as replay:
        return _replay(services, tenant_id, submission, replay.earlier)
    if dispatch is not None:
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


_PAUSES_S = (0.1, 0.5, 1.0, 2.0)
"""Before each try to make sure of a lost commit: about as long as Postgres takes to start again."""


def _committed(
    services: Services, tenant_id: int, promise: _Promise
) -> tuple[JobView, Dispatch | None]:
    """The promise, committed once. Nothing to publish where an earlier commit is only found.

    A commit whose answer was lost is made again under the same id: that waits for the first one
    where it still runs, and finds it where it happened. Raises _Replay, and CommitUnknown where
    the database stays away, so that nobody knows.
    """
    job_id = UUID(int=uuid_utils.compat.uuid7().int)
    try:
        return _commit(services, tenant_id, promise, job_id)
    except CommitUnknown as exc:
        log.warning("commit unknown", job_id=str(job_id))
        for pause in _PAUSES_S:
            time.sleep(pause)
            with suppress(Unavailable):
                return _commit_again(services, tenant_id, promise, job_id)
        detail = "the database went away at the commit; ask for the job by its id"
        raise CommitUnknown(detail, job=job_id) from exc


def _commit_again(
    services: Services, tenant_id: int, promise: _Promise, job_id: UUID
) -> tuple[JobView, Dispatch | None]:
    try:
        return _commit(services, tenant_id, promise, job_id)
    except AlreadyStored:
        pass
    except _Replay as replay:
        if replay.earlier.job_id != job_id:
            raise
    with services.database.read() as connection:
        view = jobs.view(connection, tenant_id, job_id)
    assert view is not None
    return view, None


def _commit(
    services: Services, tenant_id: int, promise: _Promise, job_id: UUID
) -> tuple[JobView, Dispatch]:
    """The promise; raises _Replay where another request with the key came first."""
    submission = promise.submission
    media = any(query.media for query in promise.queries)
    if submission.key is None and not media and not promise.documents:
        with services.database.statement() as connection:
            return _over_corpus(services, connection, tenant_id, job_id, promise)
    with services.database.begin() as connection:
        if submission.key is not None:
            earlier = idempotency.claim(
                connection, tenant_id, submission.key, submission.body_sha256, job_id
            )
            if earlier is not None:
                raise _Replay(earlier)
        if promise.documents:
            return _over_documents(services, connection, tenant_id, job_id, promise)
        contents.put_media(connection, tenant_id, promise.queries)
        return _over_corpus(services, connection, tenant_id, job_id, promise)


def _over_corpus(
    services: Services, connection: Connection, tenant_id: int, job_id: UUID, promise: _Promise
) -> tuple[JobView, Dispatch]:
    new = _new_job(services, tenant_id, job_id, promise, ids=[])
    submitted = over_corpus.submit(connection, new, promise.queries)
    if submitted is None:
        raise no_corpus()
    return submitted


def _over_documents(
    services: Services, connection: Connection, tenant_id: int, job_id: UUID, promise: _Promise
) -> tuple[JobView, Dispatch]:
    ids = contents.put(connection, tenant_id, promise.contents)
    queries = [ids[query.sha256] for query in promise.queries]
    new = _new_job(services, tenant_id, job_id, promise, queries)
    sent = rows(promise.documents, ids)
    dispatch = documents.submit(connection, new, sent, services.settings.slice_pairs)
    view = jobs.view(connection, tenant_id, job_id)
    assert view is not None
    return view, dispatch


def _new_job(
    services: Services,
    tenant_id: int,
    job_id: UUID,
    promise: _Promise,
    ids: Sequence[int],
) -> NewJob:
    submission, request = promise.submission, promise.submission.request
    return NewJob(
        id=job_id,
        tenant_id=tenant_id,
        kind=submission.kind,
        corpus_id=None,
        corpus_name=request.corpus,
        space_id=None,
        encoder_id=None,
        encoder_queue=None,
        scorer_id=promise.scorer.id,
        k=submission.k,
        top_n=submission.top_n,
        query_content_ids=ids,
        filter=request.filter,
        blend=request.blend,
        min_score=request.min_score,
        time_limit=timedelta(seconds=request.time_limit_s) if request.time_limit_s else None,
        metadata=request.metadata,
        queries_per_slice=services.settings.retrieve_slice_queries,
        trace=promise.trace,
    )
