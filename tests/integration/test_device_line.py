"""What waits in the device's line: small jobs in one batch, bulk work that gives way, cancels."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from uuid import UUID

import pytest
from PIL import Image
from sqlalchemy import text

from repick.content import Content, ImagePolicy, LoadedContent, inspect_image
from repick.jobs import JobKind, JobState, PairScore, Slice, Stage
from repick.store import contents, jobs, slices
from repick.store.database import Database
from tests.fakes import FakeFineModel, FakePair, pair_score
from tests.integration.pipeline import Pipeline, at_speed
from worker.device import Device

TEXTS = {f"item-{n:02}": f"a text with the number {n}" for n in range(20)}


@contextmanager
def busy(device: Device) -> Iterator[threading.Event]:
    """A device that computes something else until the event is set."""
    gate, begun = threading.Event(), threading.Event()
    device.submit(lambda: (begun.set(), gate.wait(60)))
    assert begun.wait(20)
    try:
        yield gate
    finally:
        gate.set()


def test_bulk_batch_in_line_gives_its_slice_back_when_an_interactive_one_waits(
    pipeline: Pipeline,
) -> None:
    pipeline.put(TEXTS)
    bulk = pipeline.submit(["bulk query"], k=20, top_n=20, kind=JobKind.BATCH)
    pipeline.run(bulk, Stage.RETRIEVE)
    held = pipeline.claim(bulk, Stage.SCORE)
    assert held is not None
    with ThreadPoolExecutor(1) as pool, busy(pipeline.runtime.device):
        scoring = pool.submit(pipeline.scorer.run, held)
        wait_for(lambda: len(pipeline.runtime.device.line) > 0)
        urgent = pipeline.submit_documents(["urgent query"], {"a": "sent along"})
        assert scoring.result(timeout=20) is False  # while the device is still busy
        again = pipeline.claim(bulk, Stage.SCORE)
        assert again is not None
        assert (again.no, again.attempts) == (held.no, 1)
        with pipeline.database.begin() as connection:
            slices.release(connection, again)
    assert pipeline.model.scored == []  # the batch in front of the device never started
    assert pipeline.run(urgent).state is JobState.SUCCEEDED
    assert pipeline.run(bulk).state is JobState.SUCCEEDED


def test_bulk_slice_is_given_back_where_interactive_batches_keep_it_from_the_device(
    pipeline: Pipeline,
) -> None:
    """No interactive slice waits in Postgres: each is claimed at once, and fills the line."""
    scorer = replace(pipeline.scorer, patience_s=0.3)
    pipeline.put(TEXTS)
    bulk = pipeline.submit(["bulk query"], kind=JobKind.BATCH)
    pipeline.run(bulk, Stage.RETRIEVE)
    held = pipeline.claim(bulk, Stage.SCORE)
    assert held is not None
    with ThreadPoolExecutor(1) as pool, busy(pipeline.runtime.device):
        endless = pipeline.runtime.device.submit(lambda: None)
        assert pool.submit(scorer.run, held).result(timeout=20) is False
        assert not endless.done()
    assert pipeline.model.scored == []
    assert pipeline.run(bulk).state is JobState.SUCCEEDED


def test_batch_of_a_cancelled_job_leaves_the_line(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    job = pipeline.submit(["a query"])
    pipeline.run(job, Stage.RETRIEVE)
    held = pipeline.claim(job, Stage.SCORE)
    assert held is not None
    with ThreadPoolExecutor(1) as pool, busy(pipeline.runtime.device):
        scoring = pool.submit(pipeline.scorer.run, held)
        wait_for(lambda: len(pipeline.runtime.device.line) > 0)
        with pipeline.database.begin() as connection:
            jobs.cancel(connection, pipeline.tenant_id, job)
        assert scoring.result(timeout=20) is False
    assert pipeline.model.scored == []
    assert pipeline.view(job).state is JobState.CANCELLED


def test_jobs_that_wait_for_the_device_together_are_one_batch_with_the_same_margins(
    pipeline: Pipeline,
) -> None:
    pipeline.put(TEXTS)
    several, held = claimed(pipeline, 4, k=2)
    scorer = replace(pipeline.scorer, pace=at_speed(1000))
    with ThreadPoolExecutor(4) as pool:
        with busy(pipeline.runtime.device):
            scoring = [pool.submit(scorer.run, one) for one in held]
            wait_for(lambda: len(pipeline.runtime.device.line) == 4)
        assert [one.result(timeout=20) for one in scoring] == [True] * 4
    assert pipeline.model.sizes == [8]
    for no, job in enumerate(several):
        assert pipeline.run(job).state is JobState.SUCCEEDED
        found = {hit.external_id: hit.margin for hit in pipeline.rankings(job)[0].hits}
        alone = {
            name: pair_score(LoadedContent(0, f"query {no}"), LoadedContent(0, TEXTS[name])).margin
            for name in found
        }
        assert found == pytest.approx(alone)


@dataclass
class Watching(FakeFineModel):
    """Notes at the start of each batch how many pairs scored before it are not committed yet."""

    database: Database | None = None
    at_risk: list[int] = field(default_factory=list)

    def score(self, pairs: Sequence[FakePair]) -> list[PairScore]:
        assert self.database is not None
        with self.database.read() as connection:
            committed = connection.execute(text("SELECT count(*) FROM pair_score")).scalar_one()
        self.at_risk.append(len(self.scored) - committed)
        return super().score(pairs)


def test_whenever_a_worker_of_several_slices_dies_it_loses_one_batch_at_most(
    pipeline: Pipeline,
) -> None:
    pipeline.put(TEXTS)
    _, held = claimed(pipeline, 4, k=20)
    model = Watching(database=pipeline.database)
    scorer = replace(pipeline.scorer, model=model)  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(scorer.run, held))
    assert set(model.at_risk) == {0}


def claimed(pipeline: Pipeline, count: int, k: int) -> tuple[list[UUID], list[Slice]]:
    """Jobs of a query each, and the slice of each that is to be scored."""
    several = [pipeline.submit([f"query {no}"], k=k, top_n=2) for no in range(count)]
    for job in several:
        pipeline.run(job, Stage.RETRIEVE)
    held = [pipeline.claim(job, Stage.SCORE) for job in several]
    return several, [one for one in held if one is not None]


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_image_is_decoded_once_for_the_jobs_that_meet_it(pipeline: Pipeline) -> None:
    drawn = BytesIO()
    Image.new("RGB", (40, 30), "red").save(drawn, "PNG")
    policy = ImagePolicy.from_settings(pipeline.runtime.settings)
    media = inspect_image(drawn.getvalue(), "image/png", policy)
    with pipeline.database.begin() as connection:
        stored = contents.put(connection, pipeline.tenant_id, [Content(None, media)])
    [content_id] = stored.values()
    pipeline.runtime.media.put(pipeline.tenant_id, media.sha256, drawn.getvalue())
    first, again = (pipeline.runtime.load(pipeline.tenant_id, [content_id]) for _ in range(2))
    assert isinstance(one := first[content_id], LoadedContent)
    assert isinstance(two := again[content_id], LoadedContent)
    assert one.image is two.image
    assert one.image.size == (40, 30)
    assert pipeline.runtime.images.used == 40 * 30 * 3
