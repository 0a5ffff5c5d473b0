"""Runs compared through the store: diffs, summaries that are kept, alarms, the report's page."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from repick.compare import Order, diff
from repick.content import Content, Media
from repick.errors import Conflict, NotFound
from repick.media import MediaFolder
from repick.reports.gather import gather
from repick.reports.page import html
from repick.schedules import RunState
from repick.store import comparing, contents, corpora, holds, retention, runs, schedules
from repick.store.corpora import NewItem
from repick.store.runs import Run
from tests import bad_images
from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline

DOCUMENTS = {f"d{no:02}": f"document {no}" for no in range(30)}
QUERIES = {f"q{no}": f"query {no}" for no in range(6)}
CHANGED = {"d03": "another document", "d05": "one more", "<b>d31</b>": "<script>alert(1)</script>"}


def two_runs(pipeline: Pipeline, **options: object) -> tuple[Run, Run]:
    """A run, changed documents and queries, and a second run."""
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline, **options)
    first = maker.run(pipeline, one)
    pipeline.put(CHANGED)
    maker.stand(pipeline, {"aa": "a query that sorts first"})
    return first, maker.run(pipeline, one)


def orders(pipeline: Pipeline, run: Run) -> dict[str, Order]:
    with pipeline.database.begin() as connection:
        names = runs.query_names(connection, pipeline.tenant_id, run.run_id)
    return {
        names[one.query_no]: Order(
            [hit.external_id for hit in one.hits],
            [hit.score for hit in one.hits],
            [hit.content_id for hit in one.hits],
        )
        for one in pipeline.rankings(run.run_id)
    }


def test_queries_are_matched_by_name_whatever_their_numbers(pipeline: Pipeline) -> None:
    first, second = two_runs(pipeline)
    old, new = orders(pipeline, first), orders(pipeline, second)
    tenant = pipeline.tenant_id
    found = list(comparing.every(pipeline.database, tenant, first.run_id, second.run_id))
    assert {one.query for one in found} == {*QUERIES, "aa"}
    assert [one.query for one in found if one.diff is None] == ["aa"]
    for one in found:
        if one.diff is not None:
            assert one.diff == diff(one.query, old[one.query], new[one.query])
    assert any(one.diff and not one.diff.same for one in found)
    with pipeline.database.begin() as connection:
        summary = comparing.summary(connection, tenant, first.run_id, second.run_id)
        back = comparing.summary(connection, tenant, second.run_id, first.run_id)
    assert (summary.queries, summary.only_after, summary.only_before) == (6, 1, 0)
    assert (back.queries, back.only_after, back.only_before) == (6, 0, 1)
    assert summary.churn
    assert summary.movers


def test_pages_are_the_whole(pipeline: Pipeline) -> None:
    first, second = two_runs(pipeline)
    tenant, past, found = pipeline.tenant_id, -1, []
    with pipeline.database.begin() as connection:
        while page := comparing.page(connection, tenant, first.run_id, second.run_id, past, 2):
            found += page
            past = page[-1].query_no
        other = comparing.page(connection, tenant + 1, first.run_id, second.run_id, -1, 100)
    assert found == list(comparing.every(pipeline.database, tenant, first.run_id, second.run_id))
    assert other == []


def test_summary_is_kept_and_outlives_the_rankings(pipeline: Pipeline) -> None:
    first, second = two_runs(pipeline)
    tenant = pipeline.tenant_id
    with pipeline.database.begin() as connection:
        made = comparing.summary(connection, tenant, first.run_id, second.run_id)
        connection.execute(text("DELETE FROM ranking"))
        kept = comparing.summary(connection, tenant, first.run_id, second.run_id)
    assert kept == made
    assert made.queries == 6


def test_jobs_without_standing_queries_are_matched_by_content(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    first = pipeline.submit(["red", "blue", "green"])
    second = pipeline.submit(["green", "black", "red"])
    pipeline.run(first)
    pipeline.run(second)
    found = list(comparing.every(pipeline.database, pipeline.tenant_id, first, second))
    assert [(one.query, one.diff is None) for one in found] == [
        ("0", False),
        ("1", True),
        ("2", False),
    ]
    assert all(one.diff.same for one in found if one.diff)


@pytest.mark.parametrize(
    ("alarms", "state", "codes"),
    [
        ({"max_churn": 0.0}, RunState.HELD, ["churn"]),
        ({"max_churn": 0.0, "hold": False}, RunState.PUBLISHED, ["churn"]),
        ({"max_churn": 1.0, "max_duration_s": 3600}, RunState.PUBLISHED, []),
        ({}, RunState.PUBLISHED, []),
        ({"max_chrun": 0.5}, RunState.HELD, ["invalid_alarms"]),
    ],
)
def test_alarms_hold_back_the_switch_of_latest(
    pipeline: Pipeline, alarms: dict[str, object], state: RunState, codes: list[str]
) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    first = maker.run(pipeline, one)
    with pipeline.database.begin() as connection:
        schedules.change(connection, one.tenant_id, one.id, {"alarms": alarms})
    pipeline.put(CHANGED)
    second = maker.run(pipeline, one)
    assert (second.state, [reason["code"] for reason in second.reasons]) == (state, codes)
    held = state is RunState.HELD
    assert maker.shown(pipeline, one).latest_run == (first.run_id if held else second.run_id)
    if held:
        with pipeline.database.begin() as connection:
            assert runs.confirm(connection, second, "someone")
        assert maker.shown(pipeline, one).latest_run == second.run_id


def test_report_says_what_changed_and_escapes_every_text(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    _, second = two_runs(pipeline, name="night & <i>day</i>")
    media = MediaFolder(tmp_path / "none")
    report = gather(pipeline.database, media, pipeline.tenant_id, second.run_id)
    page = html(report)
    assert report.summary
    assert [past.run_id for past in report.history][-1] == second.run_id
    assert report.history[-1].churn == report.summary.churn
    assert "<script" not in page
    assert "<i>day" not in page
    assert "night &amp; &lt;i&gt;day&lt;/i&gt;" in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    for shown in report.movers:
        assert shown.mover.id in page or "&lt;b&gt;" in page


def test_report_embeds_small_pictures_as_they_were_sent(pipeline: Pipeline, tmp_path: Path) -> None:
    _, second = two_runs(pipeline)
    media = MediaFolder(tmp_path / "media")
    other = bad_images.photo("JPEG")  # an empty folder would be taken for one that is not mounted
    media.put(pipeline.tenant_id, hashlib.sha256(other).digest(), other)
    name = gather(pipeline.database, media, pipeline.tenant_id, second.run_id).movers[0].mover.id
    data = bad_images.photo("PNG")
    sha256 = hashlib.sha256(data).digest()
    pictured = Content("with picture", Media(sha256, "image/png", 8, 8, len(data)))
    with pipeline.database.begin() as connection:
        stored = contents.put(connection, pipeline.tenant_id, [pictured])
        new = NewItem(name, stored[pictured.sha256], {})
        corpora.put_items(connection, pipeline.tenant_id, pipeline.corpus_id, [new])
    lost = gather(pipeline.database, media, pipeline.tenant_id, second.run_id)
    assert (lost.movers[0].picture, lost.movers[0].unshown) == (None, "media_missing")
    media.put(pipeline.tenant_id, sha256, data)
    found = gather(pipeline.database, media, pipeline.tenant_id, second.run_id)
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    assert found.movers[0].picture == url
    assert f'<img src="{url}"' in html(found)


def test_report_of_a_first_run_and_of_none(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    media = MediaFolder(tmp_path)
    running = maker.begin(pipeline, one)
    with pytest.raises(Conflict):
        gather(pipeline.database, media, pipeline.tenant_id, running)
    pipeline.run(running)
    maker.tick(pipeline)
    report = gather(pipeline.database, media, pipeline.tenant_id, running)
    assert report.summary is None
    assert "no published run before it" in html(report)
    with pytest.raises(NotFound):
        gather(pipeline.database, media, pipeline.tenant_id + 1, running)
    assert replace(report.run, run_id=running) == report.run


def test_a_kept_comparison_goes_with_its_later_run_alone(pipeline: Pipeline) -> None:
    first, second = two_runs(pipeline)
    kept = text("SELECT count(*) FROM comparison")

    def delete(run: Run) -> None:
        with pipeline.database.begin() as connection:
            connection.execute(text("DELETE FROM job WHERE id = :id"), {"id": run.run_id})

    def left() -> int:
        with pipeline.database.begin() as connection:
            retention.delete_comparisons(connection)
            return int(connection.execute(kept).scalar_one())

    with pipeline.database.begin() as connection:
        comparing.summary(connection, pipeline.tenant_id, first.run_id, second.run_id)
    assert left() == 1
    delete(first)
    assert left() == 1
    delete(second)
    assert left() == 0


@pytest.mark.parametrize("deleted", [0, 1])
def test_a_diff_of_what_goes_meanwhile_does_not_end_as_if_it_were_whole(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, deleted: int
) -> None:
    pair = two_runs(pipeline)
    monkeypatch.setattr(comparing, "PAGE", 2)
    both = [run.run_id for run in pair]
    found = comparing.every(pipeline.database, pipeline.tenant_id, *both)
    assert [next(found).diff is not None for _ in range(2)].count(True) == 1
    with pipeline.database.begin() as connection:
        connection.execute(text("DELETE FROM comparison"))  # kept when the run was settled
        connection.execute(text("DELETE FROM job WHERE id = :id"), {"id": both[deleted]})
    with pytest.raises(NotFound):
        next(found)
    with pipeline.database.begin() as connection, pytest.raises(NotFound):
        comparing.summary(connection, pipeline.tenant_id, *both)


def test_a_report_and_the_alarms_do_without_a_run_before_that_was_deleted(
    pipeline: Pipeline,
) -> None:
    first, second = two_runs(pipeline)
    with pipeline.database.begin() as connection:
        connection.execute(text("DELETE FROM comparison"))
        connection.execute(text("DELETE FROM job WHERE id = :id"), {"id": first.run_id})
        schedule = schedules.named(connection, pipeline.tenant_id, second.schedule)
        assert schedule is not None
        assert holds.reasons(connection, schedule, second, second.figures) == []
    media = pipeline.runtime.media
    report = gather(pipeline.database, media, pipeline.tenant_id, second.run_id)
    assert report.summary is None
    assert "<html" in html(report)
