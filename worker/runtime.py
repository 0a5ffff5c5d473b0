"""What a worker process holds: its settings, its servers, its device thread and its models."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import structlog
from celery import Celery
from prometheus_client import CollectorRegistry

from repick import telemetry
from repick.content import Content, ImagePolicy, LoadedContent, decode_image
from repick.errors import ContentError, RepickError, Unavailable
from repick.jobs import Slice
from repick.media import MediaStore
from repick.metrics import WorkerFigures
from repick.queue import publish
from repick.settings import Settings
from repick.store import contents, slices, stages
from repick.store.database import Connection, Database
from repick.store.slices import Dispatch, LeaseLost
from worker.device import Device

log = structlog.get_logger(__name__)

T = TypeVar("T")

POSTPONED = timedelta(seconds=10)
"""Between two tries of a slice whose media store, say, does not answer."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Made once a process, by `worker.__main__`, and handed to every task."""

    settings: Settings
    database: Database
    media: MediaStore
    app: Celery
    device: Device
    owner: str
    figures: WorkerFigures = field(default_factory=lambda: WorkerFigures(CollectorRegistry()))

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.settings.batch_deadline_s + self.settings.lease_margin_s)

    def dispatch(self, dispatch: Dispatch | None) -> None:
        if dispatch is not None:
            publish(self.app, dispatch)

    def load(self, tenant_id: int, ids: Sequence[int]) -> dict[int, LoadedContent | ContentError]:
        """Contents with decoded pixels by id; in the place of what cannot be read, its error."""
        with self.database.begin() as connection:
            found = contents.get(connection, tenant_id, ids)
        policy = ImagePolicy.from_settings(self.settings)
        return {
            content_id: self._load(tenant_id, content_id, found.get(content_id), policy)
            for content_id in ids
        }

    def _load(
        self, tenant_id: int, content_id: int, one: Content | None, policy: ImagePolicy
    ) -> LoadedContent | ContentError:
        if one is None:
            return ContentError("content_missing", "the content is not there any more")
        if one.media is None:
            return LoadedContent(content_id, one.text, instruction=one.instruction)
        try:
            image = decode_image(self.media.get(tenant_id, one.media.sha256), policy)
        except ContentError as exc:
            return exc
        return LoadedContent(content_id, one.text, image, one.media.sha256, one.instruction)

    def result_of(self, work: Future[T], hold: Callable[[Connection], None]) -> T:
        """Wait for a batch in the device's line, holding its lease for as long as the line moves.

        A line that stands still holds nothing: the watchdog ends the process, or the lease runs
        out. Raises what the batch raised, and LeaseLost.
        """
        seen = -1
        while True:
            try:
                return work.result(timeout=self.lease.total_seconds() / 3)
            except FutureTimeout:
                if work.done():
                    raise  # the batch itself raised it
            if self.device.batches != seen:
                seen = self.device.batches
                with self.database.begin() as connection:
                    hold(connection)

    def close(self, held: Slice) -> None:
        """Commit the end of a slice and publish what it opens."""
        with self.database.begin() as connection:
            opened = stages.close(connection, held, self.settings.slice_pairs)
        self.dispatch(opened)

    @contextmanager
    def holding(self, held: Slice) -> Iterator[None]:
        """Around the work on a claimed slice: an error gives it back, the third one ends it.

        A server that is away is no fault of the slice: it waits, and no attempt is counted. With
        the database away nothing can be said: the lease runs out and another worker comes.
        """
        started, outcome, job_id = time.monotonic(), "done", str(held.job_id)
        with (
            structlog.contextvars.bound_contextvars(
                job_id=job_id, stage=held.stage.value, slice=held.no
            ),
            telemetry.span(f"repick.{held.stage}", held.trace, job_id=job_id, slice=held.no),
        ):
            try:
                yield
            except LeaseLost:
                outcome = "lease_lost"
                log.warning("lease lost")
            except Unavailable as exc:
                outcome = "unavailable"
                log.warning("unavailable", reason=exc.detail)
                self._postpone(held)
            except Exception as exc:
                outcome = "error"
                code = exc.code if isinstance(exc, RepickError) else "internal_error"
                log.exception("slice failed", code=code)
                self._give_back(held, code)
            finally:
                seconds = time.monotonic() - started
                self.figures.slice(held.stage, outcome, seconds)
                log.info("slice", outcome=outcome, ms=round(1000 * seconds, 1))

    def _postpone(self, held: Slice) -> None:
        try:
            with self.database.begin() as connection:
                slices.postpone(connection, held, POSTPONED)
        except Unavailable as exc:
            log.warning("left to its lease", reason=exc.detail)

    def _give_back(self, held: Slice, code: str) -> None:
        with self.database.begin() as connection:
            ended = slices.release(connection, held, code)
            opened = (
                stages.close_failed(connection, held, self.settings.slice_pairs) if ended else None
            )
        self.dispatch(opened)


def owner_name(role: str) -> str:
    """A readable and unique name of this process, for leases and for Flower."""
    return f"{role}-{os.getpid()}@{socket.gethostname()}"
