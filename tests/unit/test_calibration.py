"""Calibration: figures known by hand, monotone maps, disjoint queries, and its command."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from repick.calibration import Isotonic, Method, Platt, as_json, parse
from repick.calibration.figures import (
    base_rate_brier,
    best_blend,
    brier,
    expected_calibration_error,
    first_hits,
)
from repick.calibration.fit import calibrate, fit, split
from repick.calibration.labels import Label, of_jobs, read_labels, read_qrels
from repick.calibration.maps import MAX_KNOTS, logistic
from repick.cli.app import app
from repick.client import Hit, Job, Model, Progress, Ranking
from repick.errors import InvalidField
from repick.jobs import JobState


def labels(queries: int, seed: int = 0, good: float = 1.0) -> list[Label]:
    """Five pairs a query; the margin is ten times too sure of itself: P(relevant) = σ(margin/10).

    The coarse score puts a random pair first; with `good` below 0 the margin is turned round.
    """
    dice = random.Random(seed)
    found = []
    for query in range(queries):
        for _ in range(5):
            margin = dice.uniform(-40, 40)
            relevant = dice.random() < logistic(good * margin / 10)
            found.append(Label(f"q{query}", margin, relevant, dice.random()))
    return found


def test_the_calibration_error_of_two_bins_by_hand() -> None:
    """Bins {.1, .2} with no label and {.7, .8} with one: |.15 - 0|/2 + |.75 - .5|/2."""
    found = expected_calibration_error([0.8, 0.1, 0.7, 0.2], [True, False, False, False], bins=2)
    assert found == pytest.approx(0.15 / 2 + 0.25 / 2)


def test_equal_probabilities_do_not_depend_on_their_order() -> None:
    first = expected_calibration_error([0.5] * 4, [True, True, False, False], bins=2)
    second = expected_calibration_error([0.5] * 4, [False, True, False, True], bins=2)
    assert first == second == 0


def test_fewer_pairs_than_bins_are_a_bin_each() -> None:
    assert expected_calibration_error([0.25, 0.5], [False, True]) == pytest.approx(0.375)


def test_the_brier_scores_by_hand() -> None:
    assert brier([0.5, 1.0, 0.0], [True, True, True]) == pytest.approx((0.25 + 0 + 1) / 3)
    assert base_rate_brier([True, False, False, False]) == pytest.approx(3 / 16)


def test_an_isotonic_map_is_linear_between_its_knots_and_clips_beyond() -> None:
    one = Isotonic((-1.0, 1.0, 3.0), (0.1, 0.5, 0.9))
    margins = (-9.0, -1.0, 0.0, 1.0, 2.0, 3.0, 9.0)
    found = [one.probability(margin) for margin in margins]
    assert found == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.7, 0.9, 0.9])


def test_platt_is_the_logistic_curve_without_overflow() -> None:
    one = Platt(2.0, -1.0)
    assert one.probability(1.0) == pytest.approx(1 / (1 + math.exp(-1)))
    assert (one.probability(-1e6), one.probability(1e6)) == (0.0, 1.0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-30, 30), st.booleans()), min_size=2))
def test_a_fitted_isotonic_map_is_monotone_and_equals_the_librarys(
    pairs: list[tuple[float, bool]],
) -> None:
    from sklearn.isotonic import IsotonicRegression

    given = [Label("q", margin, relevant) for margin, relevant in pairs]
    one = fit(given, Method.ISOTONIC)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    theirs.fit([p[0] for p in pairs], [float(p[1]) for p in pairs])
    margins = sorted([-40.0, *(p[0] for p in pairs), 40.0])
    ours = [one.probability(margin) for margin in margins]
    assert ours == pytest.approx(theirs.predict(margins).tolist(), abs=1e-6)
    assert all(a <= b + 1e-12 for a, b in pairwise(ours))


def test_platt_finds_the_curve_that_made_the_labels() -> None:
    one = fit(labels(2000), Method.PLATT)
    assert isinstance(one, Platt)
    assert one.slope == pytest.approx(0.1, rel=0.1)
    assert one.intercept == pytest.approx(0.0, abs=0.1)


def test_platt_stays_finite_for_separable_labels() -> None:
    """Platt's targets: two of each give 3/4 and 1/4 at the margins ±1, so a slope of ln 3."""
    given = [Label("q", margin, margin > 0) for margin in (-1.0, -1.0, 1.0, 1.0)]
    one = fit(given, Method.PLATT)
    assert isinstance(one, Platt)
    assert one.slope == pytest.approx(math.log(3), rel=1e-3)


def test_platt_refuses_margins_that_go_down_with_relevance() -> None:
    with pytest.raises(InvalidField) as caught:
        fit(labels(50, good=-1), Method.PLATT)
    assert caught.value.code == "not_monotone"


def test_no_query_is_fitted_and_measured_and_the_seed_decides() -> None:
    given = labels(40)
    fitted, measured = split(given, 0.25, seed=3)
    assert not {one.query for one in fitted} & {one.query for one in measured}
    assert len({one.query for one in measured}) == 10
    assert sorted(map(id, fitted + measured)) == sorted(map(id, given))
    assert split(given, 0.25, seed=3) == (fitted, measured)
    assert split(given, 0.25, seed=4) != (fitted, measured)


@pytest.mark.parametrize("method", list(Method))
def test_overconfident_margins_become_honest(method: Method) -> None:
    report = calibrate(labels(800), method)
    assert report.before.ece > 0.1
    assert report.after.ece < 0.05
    assert report.after.brier < min(report.before.brier, report.base_rate_brier)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([], "too_few_queries"),
        ([Label("q", 1.0, True), Label("q", 0.0, False)], "too_few_queries"),
        ([Label(str(no), float(no), True) for no in range(9)], "one_class"),
    ],
)
def test_labels_that_teach_nothing_are_refused(given: list[Label], code: str) -> None:
    with pytest.raises(InvalidField) as caught:
        calibrate(given)
    assert caught.value.code == code


def two_pairs(query: str, fine: bool, coarse: bool) -> list[Label]:
    """A relevant pair and another; each order puts the relevant one first or not."""
    return [
        Label(query, 2.0 if fine else 0.0, True, 0.9 if coarse else 0.1),
        Label(query, 1.0, False, 0.5),
    ]


def test_first_hits_of_each_order_by_hand() -> None:
    right = [(True, True), (True, False), (False, True), (False, False), (False, True)]
    given = [one for no, both in enumerate(right) for one in two_pairs(str(no), *both)]
    found = first_hits(given, blend=1.0)
    assert found is not None
    assert (found.queries, found.coarse, found.fine, found.blended) == (5, 0.6, 0.4, 0.6)
    assert best_blend(given) == 0.5, "equal z: the tie goes to the better coarse score"


def test_reranking_that_does_harm_is_a_warning_and_one_that_helps_is_not() -> None:
    harm = [one for no in range(20) for one in two_pairs(str(no), no % 2 == 0, True)]
    helps = [one for no in range(20) for one in two_pairs(str(no), True, no % 2 == 0)]
    (said, *_) = calibrate(harm).warnings
    assert "R@1 falls from 100.0 (coarse) to 50.0 (fine)" in said
    assert not any("harm" in one for one in calibrate(helps).warnings)


def test_without_coarse_scores_nothing_is_said_of_orders() -> None:
    report = calibrate([Label(one.query, one.margin, one.relevant) for one in labels(40)])
    assert (report.blend, report.first_hits, report.all_first_hits) == (None, None, None)


@pytest.mark.parametrize("one", [Isotonic((0.0, 1.0), (0.0, 1.0)), Platt(1.0, -2.0)])
def test_a_map_survives_json(one: Any) -> None:
    assert parse(json.loads(json.dumps(as_json(one)))) == one


BAD_MAPS = [
    ({}, "map.method", "unknown_method"),
    ({"method": ["platt"]}, "map.method", "unknown_method"),
    ({"method": "isotonic", "x": [0, 1], "y": [0.5, 0.4]}, "map.y", "not_monotone"),
    ({"method": "isotonic", "x": [1, 1], "y": [0.4, 0.5]}, "map.x", "not_monotone"),
    ({"method": "isotonic", "x": [0, 1], "y": [0.4, 1.5]}, "map.y", "invalid_field"),
    ({"method": "isotonic", "x": [0, 1], "y": [0.4]}, "map.y", "invalid_field"),
    ({"method": "isotonic", "x": [], "y": []}, "map.x", "invalid_field"),
    ({"method": "isotonic", "x": "01", "y": [0, 1]}, "map.x", "invalid_field"),
    ({"method": "isotonic", "x": [0, True], "y": [0, 1]}, "map.x[1]", "invalid_number"),
    ({"method": "isotonic", "x": [0, math.nan], "y": [0, 1]}, "map.x[1]", "invalid_number"),
    ({"method": "isotonic", "x": [*range(MAX_KNOTS + 1)], "y": [0]}, "map.x", "too_many_knots"),
    ({"method": "platt", "slope": -1, "intercept": 0}, "map.slope", "not_monotone"),
    ({"method": "platt", "slope": math.inf, "intercept": 0}, "map.slope", "invalid_number"),
    ({"method": "platt", "slope": 1}, "map.intercept", "invalid_number"),
    ({"method": "platt", "slope": 1, "intercept": 0, "x": []}, "map.x", "unknown_field"),
]


@pytest.mark.parametrize(("value", "field", "code"), BAD_MAPS)
def test_a_bad_map_is_refused_by_its_field(value: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse(value)
    assert (caught.value.field, caught.value.code) == (field, code)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        '{"query": "a", "margin": NaN, "relevant": true}',
        '{"query": "a", "margin": 1, "relevant": 1}',
        '{"query": "a", "margin": "1", "relevant": true}',
        '{"query": null, "margin": 1, "relevant": true}',
        '{"query": "a", "margin": 1}',
        '{"query": "a", "margin": 1, "relevant": true, "grade": 2}',
    ],
)
def test_a_wrong_line_of_labels_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text('{"query": 1, "margin": 1, "relevant": true, "coarse": 0.5}\n' + line)
    with pytest.raises(InvalidField) as caught:
        read_labels(file)
    assert (caught.value.field, caught.value.code) == ("labels.jsonl:2", "invalid_line")


def job(*rankings: Ranking, **metadata: Any) -> Job:
    return Job(
        id="j",
        state=JobState.SUCCEEDED,
        corpus=None,
        encoder=None,
        scorer=Model("m:choice", "f" * 64),
        untrained=False,
        k=2,
        top_n=2,
        queries=len(rankings),
        filter=None,
        blend=0.0,
        min_score=None,
        length_policy="refuse",
        deadline=None,
        progress=Progress(0, 0, 0, 0),
        metadata=metadata,
        warnings=(),
        error=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        started_at=None,
        finished_at=None,
        rankings=rankings,
        query_errors={},
    )


def ranking(query: int, *hits: tuple[str, float | None]) -> Ranking:
    places = tuple(
        Hit(no, name, 0.5, margin, 1.0, 0.0, None, no, 1 / no)
        for no, (name, margin) in enumerate(hits, start=1)
    )
    return Ranking(query, 2, 2, False, None, None, places, ())


def test_jobs_and_their_qrels_become_labels(tmp_path: Path) -> None:
    file = tmp_path / "test.tsv"
    file.write_text("query-id\tcorpus-id\tscore\nred\ta\t1\nred\tb\t0\n")
    one = job(ranking(0, ("b", 2.0), ("a", 1.0)), ranking(1, ("a", 3.0)), query_ids=["red", "big"])
    assert of_jobs([one], read_qrels(file)) == [
        Label("red", 2.0, False, 1.0),
        Label("red", 1.0, True, 0.5),
    ]


@pytest.mark.parametrize(
    ("jobs", "code"),
    [
        ([job(ranking(0, ("a", 1.0))), job(ranking(0, ("a", 1.0)))], "duplicate_query"),
        ([job(ranking(0, ("a", None)))], "no_margin"),
    ],
)
def test_jobs_that_cannot_be_labelled_are_refused(jobs: list[Job], code: str) -> None:
    with pytest.raises(InvalidField) as caught:
        of_jobs(jobs, {"0": {"a": 1}})
    assert caught.value.code == code


def test_a_wrong_line_of_qrels_is_named(tmp_path: Path) -> None:
    file = tmp_path / "test.tsv"
    file.write_text("q\td\t1\nq d 1\n")
    with pytest.raises(InvalidField) as caught:
        read_qrels(file)
    assert caught.value.field == "test.tsv:2"


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    lines = [
        {"query": a.query, "margin": a.margin, "relevant": a.relevant, "coarse": a.coarse}
        for a in labels(60)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    shown = CliRunner().invoke(app, ["calibrate", str(file)], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    assert "expected calibration error" in shown.stdout
    printed = CliRunner().invoke(app, ["calibrate", str(file), "--json", "--method", "platt"])
    value = json.loads(printed.stdout)
    assert value["map"]["method"] == "platt"
    assert value["measured_queries"] == 30


@pytest.mark.parametrize("extra", [[], ["--job", "j"], ["--qrels", __file__], ["--store"]])
def test_the_command_refuses_wrong_usage(extra: list[str], tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.touch()
    arguments = extra if extra[:1] != ["--store"] else [str(file), "--store"]
    assert CliRunner().invoke(app, ["calibrate", *arguments]).exit_code == 2
