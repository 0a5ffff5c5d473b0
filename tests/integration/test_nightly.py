"""Nightly runs: what they score, what they report, what becomes the latest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from uuid import UUID

import pytest
from sqlalchemy import text

from repick import nightly
from repick.errors import Conflict, InvalidField
from repick.jobs import JobState, Stage
from repick.queue import make_app
from repick.schedules import MissedPolicy, RunState, Trigger, WindowPolicy
from repick.store import endings, jobs, runs, schedules, waiting
from repick.sweep import Sweep
from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline

DOCUMENTS = {f"d{no:02}": f"document {no}" for no in range(30)}
QUERIES = {f"q{no}": f"query {no}" for no in range(6)}


def test_second_run_scores_and_embeds_nothing(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    first = maker.run(pipeline, one)
    scored, encoded = len(pipeline.model.scored), len(pipeline.encoder.encoded)
    second = maker.run(pipeline, one)
    assert scored == len(QUERIES) * 10
    assert len(pipeline.model.scored) == scored
    assert len(pipeline.encoder.encoded) == encoded
    ranked = [[ranking.hits for ranking in pipeline.rankings(r.run_id)] for r in (first, second)]
    assert ranked[0] == ranked[1]
    assert (first.figures["pairs_scored"], first.figures["pairs_reused"]) == (scored, 0)
    assert (second.figures["pairs_scored"], second.figures["pairs_reused"]) == (0, scored)
    assert first.figures["device_s"] > 0
    assert second.figures["from_nothing_s"] == pytest.approx(first.figures["device_s"])


def test_a_changed_document_costs_exactly_the_pairs_it_is_in(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    before = maker.run(pipeline, one)
    known = _pairs(pipeline)
    pipeline.put({"d03": "another document", "d31": "a new document"})
    after = maker.run(pipeline, one)
    new = _pairs(pipeline) - known
    assert after.figures["pairs_scored"] == len(new) > 0
    proposed = _ranked_pairs(pipeline, after) - _ranked_pairs(pipeline, before)
    assert new == proposed


def test_latest_is_the_newest_published_run_and_never_goes_back(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    older, newer = maker.begin(pipeline, one), maker.begin(pipeline, one)
    pipeline.run(newer)
    maker.tick(pipeline)
    assert maker.shown(pipeline, one).latest_run == newer
    pipeline.run(older)
    maker.tick(pipeline)
    assert maker.run_of(pipeline, older).state is RunState.PUBLISHED
    assert maker.shown(pipeline, one).latest_run == newer


def test_partial_run_is_readable_but_held_until_confirmed(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES | {"bad": "no direction"})
    one = maker.schedule(pipeline)
    run_id = maker.begin(pipeline, one)
    pipeline.run(run_id)
    maker.tick(pipeline)
    held = maker.run_of(pipeline, run_id)
    assert held.state is RunState.HELD
    assert held.reasons == [{"code": "partial", "queries_without_ranking": 1}]
    assert len(pipeline.rankings(run_id)) == len(QUERIES)
    assert maker.shown(pipeline, one).latest_run is None
    with pipeline.database.begin() as connection:
        assert runs.confirm(connection, held, "someone")
        assert not runs.confirm(connection, held, "someone else")
    assert maker.shown(pipeline, one).latest_run == run_id
    assert maker.run_of(pipeline, run_id).confirmed_by == "someone"


def test_cancelled_run_has_ended_and_is_not_the_latest(pipeline: Pipeline) -> None:
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    run_id = maker.begin(pipeline, one)
    with pipeline.database.begin() as connection:
        jobs.cancel(connection, pipeline.tenant_id, run_id)
    maker.tick(pipeline)
    ended = maker.run_of(pipeline, run_id)
    assert (ended.state, ended.reasons) == (RunState.ENDED, [{"code": "cancelled"}])
    assert maker.shown(pipeline, one).latest_run is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"tags": ["none"]}, "no_standing_queries"), ({"scorer": "gone:choice"}, "no_scorer")],
)
def test_run_that_cannot_begin_says_why(
    pipeline: Pipeline, changes: dict[str, object], code: str
) -> None:
    maker.stand(pipeline, QUERIES, "daily")
    one = maker.schedule(pipeline, **changes)
    ended = maker.run_of(pipeline, maker.begin(pipeline, one))
    assert ended.state is RunState.ENDED
    assert ended.reasons[0]["code"] == code


def test_tags_select_the_standing_queries(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, {"q1": "one"}, "daily", "shop")
    maker.stand(pipeline, {"q2": "two"}, "weekly")
    one = maker.schedule(pipeline, tags=["daily", "other"])
    run = maker.run(pipeline, one)
    with pipeline.database.begin() as connection:
        assert runs.query_names(connection, pipeline.tenant_id, run.run_id) == {0: "q1"}


def test_tenants_nightly_jobs_wait_in_line(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    begun = [maker.begin(pipeline, one) for _ in range(3)]
    assert pipeline.claim(begun[2], Stage.RETRIEVE) is None
    with pipeline.database.begin() as connection:
        assert {due.job_id for due in waiting.due(connection, ["coarse.fake-encoder.bulk"])} <= set(
            begun[:2]
        )
    pipeline.run(begun[0])
    assert pipeline.claim(begun[2], Stage.RETRIEVE) is None
    maker.tick(pipeline)
    assert pipeline.claim(begun[2], Stage.RETRIEVE) is not None


def test_closed_window_ends_the_run_with_its_finished_queries(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline, until=clock_time(6, 0))
    now = datetime(2026, 7, 1, 1, tzinfo=UTC)  # 03:00 in Berlin
    with pipeline.database.begin() as connection:
        begun = nightly.begin(connection, pipeline.runtime.settings, one, now, Trigger.MANUAL, now)
    assert begun is not None
    maker.tick(pipeline, now)
    view = pipeline.view(begun.run_id)
    assert view.deadline is not None
    assert view.deadline - view.created_at == timedelta(hours=3)
    with pipeline.database.begin() as connection:
        connection.execute(text("UPDATE job SET deadline = now()"))
    with pipeline.database.begin() as connection:
        endings.end_late(connection)
    maker.tick(pipeline, now)
    assert maker.run_of(pipeline, begun.run_id).state is RunState.ENDED  # nothing was finished
    assert maker.run_of(pipeline, begun.run_id).reasons[0]["code"] == "time_limit"


def begun_until_six(pipeline: Pipeline) -> tuple[UUID, datetime]:
    """A run whose rest is put off at six, and when that is."""
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline, until=clock_time(6, 0), after_until=WindowPolicy.PUT_OFF)
    run_id = maker.begin(pipeline, one)
    closes = maker.run_of(pipeline, run_id).window_until
    assert closes is not None
    return run_id, closes


def test_closed_window_puts_the_rest_off_until_the_next_tick(pipeline: Pipeline) -> None:
    run_id, closes = begun_until_six(pipeline)
    pipeline.run(run_id, Stage.RETRIEVE)
    held = pipeline.claim(run_id, Stage.SCORE)
    assert held is not None
    maker.tick(pipeline, closes + timedelta(seconds=1))
    assert pipeline.scorer.run(held) is False  # between batches it sees that the window closed
    assert pipeline.claim(run_id, Stage.SCORE) is None
    later = maker.run_of(pipeline, run_id).window_until
    assert later is not None
    assert timedelta(hours=22) < later - closes < timedelta(hours=26)
    with pipeline.database.begin() as connection:
        connection.execute(text("UPDATE job SET not_before = now()"))
    pipeline.run(run_id)
    pipeline.expect(run_id, JobState.SUCCEEDED)


def test_a_window_that_closes_while_the_job_is_committed_to_keeps_no_sweep_waiting(
    pipeline: Pipeline,
) -> None:
    """The numbering of a large run's pairs holds its job for minutes."""
    run_id, closes = begun_until_six(pipeline)
    with pipeline.database.begin() as connection:
        connection.execute(text("SELECT id FROM job FOR NO KEY UPDATE"))
        maker.tick(pipeline, closes + timedelta(seconds=1))
        assert maker.run_of(pipeline, run_id).window_until == closes
    maker.tick(pipeline, closes + timedelta(seconds=6))
    assert maker.run_of(pipeline, run_id).window_until != closes
    assert pipeline.claim(run_id, Stage.RETRIEVE) is None


@pytest.mark.parametrize("began", WindowPolicy)
def test_a_run_that_has_begun_keeps_its_policy_of_the_window(
    pipeline: Pipeline, began: WindowPolicy
) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline, until=clock_time(6, 0), after_until=began)
    run_id = maker.begin(pipeline, one)
    closes = maker.run_of(pipeline, run_id).window_until
    assert closes is not None
    (other,) = set(WindowPolicy) - {began}
    with pipeline.database.begin() as connection:
        schedules.change(connection, one.tenant_id, one.id, {"after_until": other})
    maker.tick(pipeline, closes + timedelta(seconds=1))
    waits = pipeline.claim(run_id, Stage.RETRIEVE) is None
    assert waits == (began is WindowPolicy.PUT_OFF)
    assert (pipeline.view(run_id).deadline is None) == waits


def test_what_is_put_off_takes_nobodys_place(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline, until=clock_time(6, 0), after_until=WindowPolicy.PUT_OFF)
    put_off = [maker.begin(pipeline, one) for _ in range(2)]
    closes = maker.run_of(pipeline, put_off[0]).window_until
    assert closes is not None
    maker.tick(pipeline, closes + timedelta(seconds=1))
    assert pipeline.claim(put_off[0], Stage.RETRIEVE) is None
    others = maker.schedule(pipeline, name="others")
    begun = [maker.begin(pipeline, others) for _ in range(3)]
    assert pipeline.claim(begun[1], Stage.RETRIEVE) is not None
    assert pipeline.claim(begun[2], Stage.RETRIEVE) is None


def test_date_has_one_run(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    day = datetime(2026, 3, 1).date()
    with pipeline.database.begin() as connection:
        nightly.run_date(connection, pipeline.runtime.settings, one, day)
    with pipeline.database.begin() as connection, pytest.raises(Conflict, match="has its run"):
        nightly.run_date(connection, pipeline.runtime.settings, one, day)
    [run] = maker.runs_of(pipeline, one)
    assert (run.tick, run.trigger) == (datetime(2026, 3, 1, 1, 30, tzinfo=UTC), Trigger.DATE)
    with pipeline.database.begin() as connection, pytest.raises(InvalidField):
        nightly.run_date(connection, pipeline.runtime.settings, one, datetime(2999, 1, 1).date())


@pytest.mark.parametrize(
    ("policy", "late", "expected"),
    [
        (MissedPolicy.SKIP, timedelta(minutes=4), [Trigger.TICK]),
        (MissedPolicy.SKIP, timedelta(minutes=6), []),
        (MissedPolicy.RUN, timedelta(minutes=6), [Trigger.MADE_UP]),
        (MissedPolicy.RUN, timedelta(days=3, minutes=6), [Trigger.MADE_UP]),
    ],
)
def test_missed_tick_is_made_up_once_or_skipped(
    pipeline: Pipeline, policy: MissedPolicy, late: timedelta, expected: list[Trigger]
) -> None:
    maker.stand(pipeline, QUERIES)
    first = datetime(2026, 6, 1, 0, 30, tzinfo=UTC)
    one = maker.schedule(pipeline, missed=policy, next_at=first)
    maker.tick(pipeline, first + late)
    assert [run.trigger for run in maker.runs_of(pipeline, one)] == expected
    following = first + timedelta(days=late.days + 1)
    assert maker.shown(pipeline, one).next_at == following
    maker.tick(pipeline, following - timedelta(seconds=1))
    assert len(maker.runs_of(pipeline, one)) == len(expected)


def test_a_broker_that_is_down_at_the_tick_delays_the_one_run_only(
    pipeline: Pipeline, broker_url: str
) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    with pipeline.database.begin() as connection:
        change = {"next_at": schedules.clock(connection)}
        schedules.change(connection, pipeline.tenant_id, one.id, change)
    settings = pipeline.runtime.settings
    down, up = make_app("redis://127.0.0.1:1/0"), make_app(broker_url)
    for _ in range(2):
        assert Sweep(settings, pipeline.database, down).tick() == 0
    (run,) = maker.runs_of(pipeline, one)
    assert (run.trigger, run.state) == (Trigger.TICK, RunState.RUNNING)
    assert Sweep(settings, pipeline.database, up).tick() == 1
    pipeline.run(run.run_id)
    assert Sweep(settings, pipeline.database, up).tick() == 0
    assert [one.state for one in maker.runs_of(pipeline, one)] == [RunState.PUBLISHED]


def test_paused_schedule_does_not_tick(pipeline: Pipeline) -> None:
    maker.stand(pipeline, QUERIES)
    first = datetime(2026, 6, 1, 0, 30, tzinfo=UTC)
    one = maker.schedule(pipeline, next_at=first, paused_at=first)
    maker.tick(pipeline, first)
    assert maker.runs_of(pipeline, one) == []


def test_deleted_query_leaves_no_vector_behind(pipeline: Pipeline) -> None:
    pipeline.put(DOCUMENTS)
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline)
    maker.run(pipeline, one)
    with pipeline.database.begin() as connection:
        connection.execute(text("DELETE FROM standing_query WHERE external_id <> 'q0'"))
    maker.run(pipeline, one)
    with pipeline.database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM query_vector")).scalar() == 1
        assert schedules.named(connection, pipeline.tenant_id, "nightly") is not None


def _pairs(pipeline: Pipeline) -> set[tuple[int, int]]:
    with pipeline.database.begin() as connection:
        rows = connection.execute(text("SELECT query_id, document_id FROM pair_score"))
        return {(row.query_id, row.document_id) for row in rows}


def _ranked_pairs(pipeline: Pipeline, run: runs.Run) -> set[tuple[int, int]]:
    with pipeline.database.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT q.content_id, unnest(r.content_ids) AS document FROM ranking r JOIN"
                " job_query q USING (job_id, query_no) WHERE r.job_id = :run"
            ),
            {"run": run.run_id},
        )
        return {(row.content_id, row.document) for row in rows}
