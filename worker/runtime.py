"""What a worker process holds: its settings, its servers, its device thread and its models."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import structlog
from celery import Celery
from PIL.Image import Image
from prometheus_client import CollectorRegistry

from repick import telemetry
from repick.content import Content, ImagePolicy, LoadedContent, decode_image
from repick.errors import ContentError, RepickError, StatementTimeout, Unavailable
from repick.jobs import Slice
from repick.media import MediaStore
from repick.metrics import WorkerFigures
from repick.queue import publish
from repick.settings import Settings
from repick.store import contents, slices, stages
from repick.store.database import Connection, Database
from repick.store.slices import Dispatch, LeaseLost
from worker.company import Company
from worker.device import Device
from worker.fine.lru import ByteLRU

log = structlog.get_logger(__name__)

T = TypeVar("T")

IMAGE_BYTES = 64 * 1024 * 1024
ASK_AGAIN_S = 0.25
"""How often a batch that waits in line asks whether it should leave it."""
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
    images: ByteLRU[tuple[int, bytes], Image] = field(
        default_factory=lambda: ByteLRU(IMAGE_BYTES, _nbytes)
    )
    """Decoded images used last, by tenant and hash: jobs over one corpus meet the same ones."""

    company: Company = field(default_factory=Company)

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.settings.batch_deadline_s + self.settings.lease_margin_s)

    def dispatch(self, dispatch: Dispatch | None) -> None:
        if dispatch is not None:
            publish(self.app, dispatch)

    def load(self, tenant_id: int, ids: Sequence[int]) -> dict[int, LoadedContent | ContentError]:
        """Contents with decoded pixels by id; in the place of what cannot be read, its error."""
        with self.database.read() as connection:
            found = contents.get(connection, tenant_id, ids)
        hashes = dict.fromkeys(one.media.sha256 for one in found.values() if one.media)
        images = self._images(tenant_id, list(hashes))
        return {
            content_id: _loaded(content_id, found.get(content_id), images) for content_id in ids
        }

    def _images(
        self, tenant_id: int, hashes: Sequence[bytes]
    ) -> Mapping[bytes, Image | ContentError]:
        """Decoded images by hash: those used last, and the others from the store."""
        policy = ImagePolicy.from_settings(self.settings)
        kept = {sha256: self.images.get((tenant_id, sha256)) for sha256 in hashes}
        images: dict[bytes, Image | ContentError] = {key: one for key, one in kept.items() if one}
        missing = [sha256 for sha256 in hashes if sha256 not in images]
        for sha256, data in self.media.get_many(tenant_id, missing):
            images[sha256] = image = _decoded(data, policy)
            if not isinstance(image, ContentError):
                self.images.put((tenant_id, sha256), image)
        return images

    def result_of(
        self,
        work: Future[T],
        hold: Callable[[Connection], None],
        withdraw: Callable[[Connection], bool] | None = None,
    ) -> T:
        """Wait for a batch in the device's line, holding its lease for as long as the line moves.

        A line that stands still holds nothing: the watchdog ends the process, or the lease runs
        out. `withdraw` is asked again and again whether to leave the line before the batch starts.
        Raises what the batch raised, LeaseLost, and CancelledError where it left the line.
        """
        third = self.lease.total_seconds() / 3
        pause = third if withdraw is None else min(third, ASK_AGAIN_S)
        seen, held_at = -1, time.monotonic()
        while True:
            try:
                return work.result(timeout=pause)
            except FutureTimeout:
                if work.done():  # it ended just now, or raised that itself
                    return work.result()
            if withdraw is not None and not work.running():
                with self.database.read() as connection:
                    leave = withdraw(connection)
                if leave and work.cancel():
                    raise CancelledError
            if self.device.batches != seen and time.monotonic() - held_at >= third:
                seen, held_at = self.device.batches, time.monotonic()
                with self.database.begin() as connection:
                    hold(connection)

    def close(
        self,
        held: Slice,
        last: Callable[[Connection], None] | None = None,
        committed: Callable[[], None] | None = None,
    ) -> None:
        """Commit the end of a slice, `last` with it, and publish what it opens.

        `committed` is called between the two: a broker that is away takes its time.
        """
        with self.database.begin() as connection:
            if last is not None:
                last(connection)
            opened = stages.close(connection, held, self.settings.slice_pairs)
        if committed is not None:
            committed()
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
            except StatementTimeout as exc:
                # Not as below: what takes too long every time would be tried for ever.
                outcome = "error"
                log.warning("slice failed", code=exc.code)
                self._give_back(held, exc.code)
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


def _decoded(data: bytes | ContentError, policy: ImagePolicy) -> Image | ContentError:
    if isinstance(data, ContentError):
        return data
    try:
        return decode_image(data, policy)
    except ContentError as exc:
        return exc


def _loaded(
    content_id: int, one: Content | None, images: Mapping[bytes, Image | ContentError]
) -> LoadedContent | ContentError:
    if one is None:
        return ContentError("content_missing", "the content is not there any more")
    if one.media is None:
        return LoadedContent(content_id, one.text, instruction=one.instruction)
    image = images[one.media.sha256]
    if isinstance(image, ContentError):
        return image
    return LoadedContent(content_id, one.text, image, one.media.sha256, one.instruction)


def _nbytes(image: Image) -> int:
    return image.width * image.height * len(image.getbands())


def owner_name(role: str) -> str:
    """A readable and unique name of this process, for leases and for Flower."""
    return f"{role}-{os.getpid()}@{socket.gethostname()}"
