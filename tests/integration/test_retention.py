"""What goes and what stays: weeks of jobs, pair scores, contents, media; also under submits."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import pytest
from sqlalchemy import text

from api import job_reads
from api.services import Services
from repick.content import Content
from repick.errors import NotFound, Unavailable
from repick.jobs import JobKind, JobState
from repick.media import MediaFolder
from repick.retention import Retention
from repick.store import contents, exports, jobs, partitions, retention
from repick.store.partitions import first_id, week_of
from repick.store.retention import START, Ages, Place
from tests.integration.pipeline import Pipeline

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=100)
DAY = timedelta(days=1)
AGES = Ages(jobs=30 * DAY, nightly=400 * DAY, scores=30 * DAY)


def keeper(pipeline: Pipeline) -> Retention:
    return Retention(pipeline.database, pipeline.runtime.media, AGES)


def query(pipeline: Pipeline, statement: str, **bind: object) -> list[object]:
    with pipeline.database.begin() as connection:
        result = connection.execute(text(statement), bind)
        return list(result.scalars()) if result.returns_rows else []


def count(pipeline: Pipeline, table: str) -> int:
    (n,) = query(pipeline, f"SELECT count(*) FROM {table}")
    assert isinstance(n, int)
    return n


def old_job(pipeline: Pipeline, text: str, moment: datetime = OLD, **options: object) -> UUID:
    """A finished job of that time, in its own week's partitions."""
    job = UUID(int=first_id(moment).int + random.getrandbits(60))
    with pipeline.database.begin() as connection:
        if week_of(moment) not in partitions.weeks(connection):
            partitions.create(connection, week_of(moment))
    pipeline.submit([text], id=job, k=2, top_n=2, **options)
    pipeline.run(job)
    query(pipeline, "UPDATE job SET finished_at = :at WHERE id = :id", at=moment, id=job)
    return job


def test_weeks_are_made_ahead_and_only_once(pipeline: Pipeline) -> None:
    for _ in range(2):
        keeper(pipeline).make_weeks(NOW)
        with pipeline.database.begin() as connection:
            there = partitions.weeks(connection)
        assert there == [week_of(NOW + n * partitions.WEEK) for n in range(5)]
    pipeline.put({"a": "words"})
    pipeline.run(pipeline.submit(["a query"]))
    name = week_of(NOW).of("ranking")
    assert count(pipeline, name) == count(pipeline, "ranking") == 1


def test_a_job_without_a_week_is_accepted_and_ranked(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words"})
    job = UUID(int=first_id(NOW + 200 * DAY).int + 7)
    pipeline.submit(["a query"], id=job)
    assert pipeline.run(job).state is JobState.SUCCEEDED
    assert count(pipeline, partitions.DEFAULT) == 1


def test_a_week_whose_jobs_came_before_its_partitions_stays_in_the_default_one(
    pipeline: Pipeline,
) -> None:
    """As after a month without a sweep: its first round would end it, and so each one after."""
    pipeline.put({"a": "words"})
    later = NOW + 200 * DAY
    early, late = (UUID(int=first_id(later).int + n) for n in (7, 8))
    pipeline.submit(["a query"], id=early)
    keeper(pipeline).run(later)
    pipeline.submit(["another query"], id=late)
    with pipeline.database.begin() as connection:
        there = partitions.weeks(connection)
    assert week_of(later) not in there
    assert week_of(later + partitions.WEEK) in there
    assert pipeline.run(early).state is pipeline.run(late).state is JobState.SUCCEEDED
    assert count(pipeline, partitions.DEFAULT) == 2


@pytest.mark.parametrize("what", ["make_weeks", "drop_weeks"])
def test_two_sweeps_at_once_make_and_drop_a_week_once(pipeline: Pipeline, what: str) -> None:
    """The second one waits for the first, whose transaction is held open here."""
    pipeline.put({"a": "words", "b": "other words"})
    old_job(pipeline, "old query")
    moment = OLD if what == "drop_weeks" else NOW
    with ThreadPoolExecutor(1) as pool:
        with pipeline.database.begin() as connection:
            partitions.in_turn(connection)
            second = pool.submit(getattr(keeper(pipeline), what), NOW)
            time.sleep(0.5)
            assert not second.done()
            if what == "drop_weeks":
                partitions.drop(connection, week_of(OLD))
            else:
                for week in partitions.missing(connection, NOW):
                    partitions.create(connection, week)
        second.result(timeout=10)
    with pipeline.database.begin() as connection:
        assert (week_of(moment) in partitions.weeks(connection)) == (what == "make_weeks")


def test_a_week_of_which_nothing_is_kept_is_dropped_whole(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    old_job(pipeline, "old query")
    new = pipeline.submit(["new query"], k=2, top_n=2)
    pipeline.run(new)
    keeper(pipeline).run(NOW)
    with pipeline.database.begin() as connection:
        assert week_of(OLD) not in partitions.weeks(connection)
    assert query(pipeline, "SELECT id FROM job") == [new]
    assert query(pipeline, "SELECT DISTINCT job_id FROM ranking") == [new]
    assert len(pipeline.rankings(new)[0].hits) == 2
    left = "SELECT relname FROM pg_class WHERE relname LIKE :name"
    assert query(pipeline, left, name=f"%_p{week_of(OLD).start:%Y%m%d}%") == []


def test_a_week_with_something_kept_loses_only_what_is_not(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    old_job(pipeline, "old query")
    nightly = old_job(pipeline, "nightly query", kind=JobKind.NIGHTLY)
    live = UUID(int=first_id(OLD).int + 5)
    pipeline.submit(["live query"], id=live, k=2, top_n=2)
    keeper(pipeline).run(NOW)
    assert set(query(pipeline, "SELECT id FROM job")) == {nightly, live}
    assert query(pipeline, "SELECT job_id FROM ranking") == [nightly]
    assert pipeline.run(live).state is JobState.SUCCEEDED


def test_large_jobs_are_deleted_fewer_at_once(pipeline: Pipeline) -> None:
    """All together they would take longer than a statement may, in each round anew."""
    pipeline.put({"a": "words", "b": "other words"})
    for _ in range(3):
        old_job(pipeline, "old query")
    query(pipeline, "UPDATE job SET query_count = 3")
    gone = []
    for _ in range(3):
        with pipeline.database.begin() as connection:
            name = week_of(OLD).of("job")
            gone.append(retention.delete_jobs(connection, name, AGES, NOW, queries=5))
    assert gone == [2, 1, 0]


def test_an_export_of_what_goes_meanwhile_does_not_end_as_if_it_were_whole(
    pipeline: Pipeline,
) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    job = pipeline.submit(["a query", "another"], k=2, top_n=2)
    pipeline.run(job)
    pages = exports.batches(pipeline.database, pipeline.tenant_id, job, exports.PAGE_HITS)
    assert [row.query_no for row in next(pages)] == [0, 0]
    query(pipeline, "DELETE FROM job")
    with pytest.raises(NotFound):
        next(pages)


def test_a_stream_of_what_goes_meanwhile_does_not_end_as_if_it_were_whole(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    job = pipeline.submit(["a query", "another", "a third"], k=2, top_n=2)
    view = pipeline.run(job)
    monkeypatch.setattr(job_reads, "PAGE_QUERIES", 1)
    services = cast(Services, SimpleNamespace(database=pipeline.database))
    found = job_reads.every_ranking(services, pipeline.tenant_id, view, -1)
    assert next(found).query == 0
    query(pipeline, "DELETE FROM job")
    with pytest.raises(NotFound):
        next(found)


def test_a_job_that_something_keeps_stays(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    kept, _ = old_job(pipeline, "kept query"), old_job(pipeline, "old query")
    query(
        pipeline,
        "CREATE OR REPLACE FUNCTION repick_job_kept(tenant bigint, job_id uuid) RETURNS boolean"
        f" LANGUAGE sql STABLE AS $$ SELECT job_id = '{kept}' $$",
    )
    keeper(pipeline).run(NOW)
    assert query(pipeline, "SELECT id FROM job") == [kept]


def test_scores_and_contents_stay_with_what_refers_to_them_and_then_go(
    pipeline: Pipeline,
) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    keep = keeper(pipeline)
    job = pipeline.submit(["a query"], k=2, top_n=2)
    pipeline.run(job)
    _age(pipeline)
    keep.run(NOW)
    assert (count(pipeline, "pair_score"), count(pipeline, "content")) == (2, 3)
    query(pipeline, "DELETE FROM job")
    keep.run(NOW)
    assert count(pipeline, "pair_score") == 0
    assert count(pipeline, "content") == 3, "a day has not passed since the last use"
    assert count(pipeline, "unused_content") == 1
    _age(pipeline)
    keep.run(NOW)
    texts = query(pipeline, "SELECT text FROM content ORDER BY text")
    assert texts == ["other words", "words"], "items refer to them"
    assert pipeline.run(pipeline.submit(["a query"])).state is JobState.SUCCEEDED


def test_a_walk_through_the_contents_goes_on_where_it_stopped(pipeline: Pipeline) -> None:
    """Queries one after another, each with pairs that nothing keeps: all of them go, once each."""
    pipeline.put({"a": "words", "b": "other words"})
    for no in range(3):
        pipeline.run(pipeline.submit([f"query {no}"], k=2, top_n=2))
    kept = pipeline.submit(["kept query"], k=2, top_n=2)
    pipeline.run(kept)
    query(pipeline, "DELETE FROM job WHERE id <> :kept", kept=kept)
    _age(pipeline)
    place: Place | None = START
    gone = []
    while place is not None:
        with pipeline.database.begin() as connection:
            n, place = retention.delete_pairs(connection, DAY, place, limit=2)
        gone.append(n)
    assert sum(gone) == 6
    assert max(gone) < 6
    assert count(pipeline, "pair_score") == 2


def test_a_score_that_was_used_lately_stays_without_a_job(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    pipeline.run(pipeline.submit(["a query"], k=2, top_n=2))
    query(pipeline, "DELETE FROM job")
    keeper(pipeline).run(NOW)
    assert (count(pipeline, "pair_score"), count(pipeline, "content")) == (2, 3)


@pytest.mark.parametrize(("days", "left"), [(36, 2), (38, 0)])
def test_a_score_goes_no_earlier_than_its_last_use_may_have_been(
    pipeline: Pipeline, days: int, left: int
) -> None:
    """A use is noted once a week: 30 days after it are up to 37 days after the note."""
    pipeline.put({"a": "words", "b": "other words"})
    pipeline.run(pipeline.submit(["a query"], k=2, top_n=2))
    query(pipeline, "DELETE FROM job")
    query(pipeline, "UPDATE pair_score SET last_used_at = :at", at=NOW - days * DAY)
    keeper(pipeline).run(NOW)
    assert count(pipeline, "pair_score") == left


def test_a_live_jobs_scores_stay_whatever_their_age(pipeline: Pipeline) -> None:
    pipeline.put({"a": "words", "b": "other words"})
    pipeline.run(pipeline.submit(["a query"], k=2, top_n=2))
    query(pipeline, "DELETE FROM job")
    live = pipeline.submit(["a query"], k=2, top_n=2)
    _age(pipeline)
    keeper(pipeline).run(NOW)
    assert count(pipeline, "pair_score") == 2
    assert pipeline.run(live).pairs_reused == 2


def test_a_content_that_is_used_again_loses_its_note(pipeline: Pipeline) -> None:
    with pipeline.database.begin() as connection:
        contents.put(connection, pipeline.tenant_id, [Content("words")])
    keeper(pipeline).run(NOW)
    assert count(pipeline, "unused_content") == 1
    pipeline.put({"a": "words"})
    _age(pipeline)
    keeper(pipeline).run(NOW)
    assert (count(pipeline, "unused_content"), count(pipeline, "content")) == (0, 1)


def test_media_go_with_the_last_content_unless_put_again(pipeline: Pipeline) -> None:
    store = pipeline.runtime.media
    data, again = b"an image", b"another image"
    for one in (data, again):
        sha256 = hashlib.sha256(one).digest()
        store.put(pipeline.tenant_id, sha256, one)
        query(
            pipeline,
            "INSERT INTO media (tenant_id, sha256, media_type, width, height, byte_length,"
            " created_at) VALUES (:tenant, :sha256, 'image/png', 1, 1, 1, :at)",
            tenant=pipeline.tenant_id,
            sha256=sha256,
            at=OLD,
        )
    for path in pipeline.runtime.settings.media_folder.rglob("*"):
        os.utime(path, (OLD.timestamp(), OLD.timestamp()))
    store.put(pipeline.tenant_id, hashlib.sha256(again).digest(), again)
    keeper(pipeline).run(NOW)
    assert count(pipeline, "media") == 0
    assert not store.exists(pipeline.tenant_id, hashlib.sha256(data).digest())
    assert store.exists(pipeline.tenant_id, hashlib.sha256(again).digest())


def test_nothing_that_a_submit_uses_is_collected_meanwhile(pipeline: Pipeline) -> None:
    """Submits of the same few contents, their jobs' ends, and collectors that know no grace."""
    stop, collected = threading.Event(), 0
    words = [f"text {no}" for no in range(6)]

    def submit(seed: int) -> int:
        chance, done = random.Random(seed), 0
        while not stop.is_set():
            some = {word: word for word in chance.sample(words, 3)}
            try:
                job = pipeline.submit_documents([chance.choice(words)], some)
            except Unavailable:  # a content that was collected is stored again out of order:
                continue  # two may wait for each other, and one is told to try again
            held = query(
                pipeline,
                "SELECT count(c.id) FROM candidate d JOIN content c ON c.tenant_id = d.tenant_id"
                " AND c.id = d.content_id WHERE d.job_id = :job",
                job=job,
            )
            assert held == [3]
            with pipeline.database.begin() as connection:
                assert jobs.cancel(connection, pipeline.tenant_id, job)
            query(pipeline, "DELETE FROM job WHERE id = :job", job=job)
            done += 1
        return done

    def collect(_seed: int) -> int:
        gone = 0
        while not stop.is_set():
            with pipeline.database.begin() as connection:
                retention.mark_contents(connection, START)
            _age(pipeline)
            with pipeline.database.begin() as connection:
                gone += retention.delete_contents(connection)
        return gone

    with ThreadPoolExecutor(6) as pool:
        submitters = [pool.submit(submit, no) for no in range(4)]
        collectors = [pool.submit(collect, no) for no in range(2)]
        time.sleep(3)
        stop.set()
        assert sum(one.result() for one in submitters) > 10
        collected = sum(one.result() for one in collectors)
    assert collected > 3


def test_bytes_that_are_put_while_they_are_removed_are_there(pipeline: Pipeline) -> None:
    folder = pipeline.runtime.settings.media_folder
    store = MediaFolder(folder)
    data = b"an image" * 1000
    sha256 = hashlib.sha256(data).digest()
    removed = _removals(store, sha256, stop := threading.Event())
    with ThreadPoolExecutor(1) as pool:
        remover = pool.submit(removed)
        try:
            for _ in range(300):
                store.put(1, sha256, data)
                assert store.get(1, sha256) == data
                for path in folder.rglob(sha256.hex()):
                    with suppress(FileNotFoundError):  # the remover has it aside to look at it
                        os.utime(path, (OLD.timestamp(), OLD.timestamp()))
        finally:
            stop.set()  # or the remover, and with it the pool, would never end
        assert remover.result() > 0


def _removals(store: MediaFolder, sha256: bytes, stop: threading.Event) -> Callable[[], int]:
    def remove() -> int:
        n = 0
        while not stop.is_set():
            n += store.remove(1, sha256, unless_put_within=DAY)
        return n

    return remove


def _age(pipeline: Pipeline) -> None:
    with pipeline.database.begin() as connection:
        # One at a time, and against no collector's row locks: only the ageing is the test's own.
        connection.execute(
            text("LOCK TABLE unused_content, pair_score IN SHARE ROW EXCLUSIVE MODE")
        )
        connection.execute(text("UPDATE unused_content SET since = since - interval '2 days'"))
        connection.execute(text("UPDATE pair_score SET last_used_at = :old"), {"old": OLD})


@pytest.mark.parametrize("days", [0, 3, 6.999])
def test_a_moment_is_in_its_week(days: float) -> None:
    start = week_of(NOW).start
    assert week_of(start + timedelta(days=days)).start == start
    assert first_id(start) <= first_id(start + timedelta(days=days)) < first_id(week_of(NOW).end)
