"""The Celery tasks: claim, do, commit. A task that finds nothing to claim returns.

Each takes a job's id (a space's id for `embed`) and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from celery import Celery

from repick.errors import Unavailable
from repick.jobs import Slice, Stage
from repick.queue import EMBED, TASK, job_id, publish_embedding
from repick.store import slices
from worker.embed import Embedder
from worker.rank import rank_slice
from worker.retrieve import Retriever
from worker.runtime import Runtime
from worker.score import SliceScorer

log = structlog.get_logger(__name__)


def coarse_tasks(app: Celery, retriever: Retriever, encoders: Sequence[int]) -> None:
    """Register what a coarse worker does: retrieve, rank, embed."""
    runtime, embedder = retriever.runtime, retriever.embedder

    @app.task(name=TASK[Stage.RETRIEVE])  # type: ignore[untyped-decorator]
    def retrieve(job: str) -> None:
        work(runtime, job, Stage.RETRIEVE, retriever.run, encoders)

    @app.task(name=TASK[Stage.RANK])  # type: ignore[untyped-decorator]
    def rank(job: str) -> None:
        work(runtime, job, Stage.RANK, lambda held: rank_slice(runtime, held))

    @app.task(name=EMBED)  # type: ignore[untyped-decorator]
    def embed(space: int) -> None:
        try:
            went_on = embed_batch(embedder, space)
        except Unavailable as exc:
            log.warning("unavailable", space=space, reason=exc.detail)
            return  # the sweep publishes again what waits
        if went_on:
            # One message goes on for the whole space, at the end of the line after each batch.
            publish_embedding(app, space, embedder.encoding.encoder.spec.queue)


def fine_tasks(app: Celery, scorer: SliceScorer, scorers: Sequence[int]) -> None:
    """Register what a fine worker does: score."""
    runtime = scorer.runtime

    @app.task(name=TASK[Stage.SCORE])  # type: ignore[untyped-decorator]
    def score(job: str) -> None:
        work(runtime, job, Stage.SCORE, scorer.run, scorers)


def embed_batch(embedder: Embedder, space: int) -> bool:
    """Embed a batch of the space, or one item that was tried before, alone; False without any."""
    company = embedder.runtime.company
    with company.beside_others():
        if batch := embedder.claim(space):
            embedder.run(batch)
            return True
        if not embedder.tried(space):
            return False
    with company.alone():
        if batch := embedder.claim(space, tried=True):
            embedder.run(batch)
    return batch is not None


def work(
    runtime: Runtime,
    job: str,
    stage: Stage,
    do: Callable[[Slice], object],
    models: Sequence[int] | None = None,
) -> None:
    """Claim one slice of the job's stage and do it; nothing where none is free.

    One that a worker may have died over is done when this process holds nothing else.
    """

    def claim_and_do(*, tried: bool) -> bool:
        """Whether nothing is left to do for this message."""
        key = job_id(job), stage
        with runtime.database.statement() as connection:
            held = slices.claim(connection, *key, runtime.owner, runtime.lease, models, tried=tried)
            if held is None:
                return not slices.tried(connection, *key, models)
        with runtime.holding(held):
            do(held)
        return True

    with runtime.company.beside_others():
        done = claim_and_do(tried=False)
    if not done:
        with runtime.company.alone():
            claim_and_do(tried=True)
