"""The Celery tasks: claim, do, commit. A task that finds nothing to claim returns.

Each takes a job's id (a space's id for `embed`) and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from celery import Celery

from repick.errors import Unavailable
from repick.jobs import Slice, Stage
from repick.queue import EMBED, TASK, job_id, publish_embedding
from repick.store import slices
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
        if held := _claim(runtime, job, Stage.RETRIEVE, encoders):
            with runtime.holding(held):
                retriever.run(held)

    @app.task(name=TASK[Stage.RANK])  # type: ignore[untyped-decorator]
    def rank(job: str) -> None:
        if held := _claim(runtime, job, Stage.RANK):
            with runtime.holding(held):
                rank_slice(runtime, held)

    @app.task(name=EMBED)  # type: ignore[untyped-decorator]
    def embed(space: int) -> None:
        if batch := embedder.claim(space):
            try:
                embedder.run(batch)
            except Unavailable as exc:
                log.warning("unavailable", space=space, reason=exc.detail)
                return  # the sweep publishes again what waits
            # One message goes on for the whole space, at the end of the line after each batch.
            publish_embedding(app, space, embedder.encoding.encoder.spec.queue)


def fine_tasks(app: Celery, scorer: SliceScorer, scorers: Sequence[int]) -> None:
    """Register what a fine worker does: score."""
    runtime = scorer.runtime

    @app.task(name=TASK[Stage.SCORE])  # type: ignore[untyped-decorator]
    def score(job: str) -> None:
        if held := _claim(runtime, job, Stage.SCORE, scorers):
            with runtime.holding(held):
                scorer.run(held)


def _claim(
    runtime: Runtime, job: str, stage: Stage, models: Sequence[int] | None = None
) -> Slice | None:
    with runtime.database.begin() as connection:
        return slices.claim(connection, job_id(job), stage, runtime.owner, runtime.lease, models)
