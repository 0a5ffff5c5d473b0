"""The same pipeline in one process: submit, retrieve, score and rank as plain calls."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from uuid import UUID

from api import submission
from api.job_checks import check
from api.publisher import Publisher
from api.schemas import JobRequest
from api.services import Services
from api.services import opened as services_opened
from benchmarks.fake_worker import registered, retriever, scorer
from benchmarks.service_stack import Stack
from repick.jobs import Slice, Stage
from repick.store import slices, tenancy
from repick.store.slices import Dispatch
from worker.rank import rank_slice
from worker.retrieve import Retriever
from worker.runtime import Runtime
from worker.score import SliceScorer
from worker.serving import opened


class SilentPublisher(Publisher):
    """Publishes nothing: the caller goes from stage to stage itself."""

    def job(self, dispatch: Dispatch) -> None:
        return


@dataclass(frozen=True, slots=True)
class SilentRuntime(Runtime):
    def dispatch(self, dispatch: Dispatch | None) -> None:
        return


@dataclass(frozen=True, slots=True)
class Local:
    services: Services
    tenant_id: int
    retriever: Retriever
    scorer: SliceScorer

    def run(self, body: dict[str, object]) -> float:
        """Seconds from a request's fields to a stored ranking; in a context of its own."""
        return copy_context().run(self._run, body)

    def _run(self, body: dict[str, object]) -> float:
        tenancy.act_for(self.tenant_id)  # as a request's key does
        started = time.perf_counter()
        request = JobRequest.model_validate(body)
        checked = check(request, None, self.services.settings)
        job = submission.submit(self.services, self.tenant_id, checked).view.id
        self.retriever.run(self._claim(job, Stage.RETRIEVE))
        self.scorer.run(self._claim(job, Stage.SCORE))
        rank_slice(self.retriever.runtime, self._claim(job, Stage.RANK))
        return time.perf_counter() - started

    def _claim(self, job: UUID, stage: Stage) -> Slice:
        runtime = self.retriever.runtime
        with runtime.database.begin() as connection:
            held = slices.claim(connection, job, stage, runtime.owner, runtime.lease)
        assert held is not None, f"{stage} of {job} was taken by somebody else"
        return held


@contextmanager
def local(stack: Stack) -> Iterator[Local]:
    with services_opened(stack.settings) as services, opened(stack.settings, "local", []) as held:
        values = {name: getattr(held, name) for name in Runtime.__dataclass_fields__}
        runtime = SilentRuntime(**values)
        silent = replace(services, publisher=SilentPublisher(services.broker))
        registered(runtime)
        yield Local(silent, stack.tenant_id, retriever(runtime), scorer(runtime))
