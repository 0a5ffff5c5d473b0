"""A job that kills its worker fails after three attempts; whatever the worker held does not."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from repick.jobs import MAX_ATTEMPTS, JobKind, JobState, Stage
from repick.store import slices, stages
from tests.integration.crew import POISON
from tests.integration.pipeline import Pipeline, expire

TEXTS = {f"item-{n:02}": f"a text with the number {n}" for n in range(20)}


def test_job_that_kills_its_worker_fails_and_those_beside_it_do_not(
    pipeline: Pipeline, database_url: str, tmp_path: Path
) -> None:
    pipeline.put(TEXTS)
    bad = pipeline.submit([POISON], k=4, top_n=4)  # overtakes the others in the device's line
    good = [pipeline.submit([f"query {no}"], k=20, top_n=20, kind=JobKind.BATCH) for no in range(5)]
    for job in (bad, *good):
        pipeline.run(job, Stage.RETRIEVE)
    with crew(database_url, tmp_path, [bad, *good]) as life:
        ends = []
        while (end := life()) != 0 and len(ends) < 2 * MAX_ATTEMPTS:
            ends.append(end)
            expire(pipeline)
    _end_lost(pipeline)
    assert ends == [-signal.SIGKILL] * MAX_ATTEMPTS
    assert [pipeline.run(job, Stage.RANK).state for job in good] == [JobState.SUCCEEDED] * 5
    view = pipeline.run(bad, Stage.RANK)
    assert view.state is JobState.FAILED
    assert view.error is not None
    assert (view.error["code"], view.error["reason"]) == ("scoring_failed", "worker_lost")


def test_item_that_kills_its_worker_takes_no_job_with_it(pipeline: Pipeline) -> None:
    """The job's own retrieval embeds what little waits: at first, and not after a death."""
    pipeline.put({"a": "words"})
    pipeline.put_unembedded({"b": "deadly words"})
    job = pipeline.submit(["a query"], k=1, top_n=1)
    assert pipeline.claim(job, Stage.RETRIEVE) is not None
    assert pipeline.embedder.claim(pipeline.space_id) is not None
    expire(pipeline)
    encoded = len(pipeline.encoder.encoded)
    view = pipeline.run(job)
    assert view.state is JobState.SUCCEEDED
    assert len(pipeline.encoder.encoded) == encoded + 1  # the query
    assert [warning["code"] for warning in view.warnings] == ["items_pending"]


def test_slice_given_back_keeps_the_attempts_that_it_had(pipeline: Pipeline) -> None:
    pipeline.put(TEXTS)
    pipeline.run(job := pipeline.submit(["a query"]), Stage.RETRIEVE)
    assert pipeline.claim(job, Stage.SCORE) is not None
    expire(pipeline)
    for _ in range(2):
        held = pipeline.claim(job, Stage.SCORE)
        assert held is not None
        assert held.attempts == 2
        with pipeline.database.begin() as connection:
            slices.release(connection, held)


@contextmanager
def crew(database_url: str, folder: Path, jobs: list[UUID]) -> Iterator[Callable[[], int]]:
    """What starts a worker process, waits for its end and gives the code of it."""
    command = [sys.executable, "-m", "tests.integration.crew", database_url, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, *map(str, jobs)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        start, ended = process.stdin, process.stdout

        def life() -> int:
            start.write("\n")
            start.flush()
            return int(ended.readline())

        yield life


def _end_lost(pipeline: Pipeline) -> None:
    """As the sweep does."""
    with pipeline.database.begin() as connection:
        while ended := slices.lost(connection):
            stages.close_failed(connection, ended, 8)
