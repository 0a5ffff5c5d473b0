"""The benchmarks run, compare the same pairs, and write what DESIGN.md asks for."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import fine, fine_workloads, precision
from benchmarks.fine_cross_encoder import cross_encoding
from benchmarks.fine_peak import necessary_flops
from benchmarks.fine_report import report
from benchmarks.fine_shapes import make_model
from benchmarks.fine_ways import LABELS, features, library_attention
from benchmarks.report import Row, write_json
from worker.fine.engine import Engine
from worker.fine.limits import MemoryLimits

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench() -> fine.Bench:
    model, family = make_model("toy", CPU, torch.float32)
    engine = Engine(family, "benchmark", MemoryLimits.of(CPU))
    cross = cross_encoding(model, CPU)
    return fine.Bench(model, engine, CPU, "toy", quick=True, repeats=1, large=False, cross=cross)


def small(names: list[str]) -> list[fine_workloads.Workload]:
    """A pair or two of each workload of which the report speaks."""
    writer = fine_workloads.Writer()
    loads = fine_workloads.interactive(writer, 2)
    loads += [fine_workloads.mixed(writer, 2)]
    loads += [fine_workloads.nightly(writer, 1, queries) for queries in (2, 5, 10)]
    assert [one.name for one in loads] == names
    return [one.first(2) for one in loads]


def test_every_way_scores_the_same_pairs_alike_and_every_metric_is_reported(
    bench: fine.Bench,
) -> None:
    names = [
        "image_image",
        "text_image",
        "image_text",
        "mixed",
        "nightly2",
        "nightly5",
        "nightly10",
    ]
    found = [fine.measure(bench, load) for load in small(names)]
    assert all(one.difference <= 1e-4 * one.spread + 1e-5 for one in found)
    if bench.cross.encoder is not None:
        theirs = [one.to_cross_encoder for one in found]
        assert all(it is not None and it <= 1e-4 for it in theirs), theirs
    rows = {row.metric: row for row in report(bench.setting, found)}
    assert {
        "image_image_warm_x",
        "text_image_cold_x",
        "text_image_warm_x",
        "image_text_x",
        "nightly2_warm_x",
        "nightly5_warm_x",
        "nightly10_warm_x",
        "nightly10_cold_x",
        "over_released_min_x",
        "enhancement_overhead",
        "largest_margin_difference",
    } <= set(rows)
    assert rows["image_image_warm"].unit == "pairs/s"


@torch.inference_mode()
def test_cross_encoder_scores_each_pair_as_the_library_does_alone(bench: fine.Bench) -> None:
    pytest.importorskip("sentence_transformers", reason="comes with the extra `bench`")
    load = fine_workloads.mixed(fine_workloads.Writer(), 5)
    yes, no = (ids[0] for ids in LABELS.ids)
    with library_attention(bench.model):
        alone = [
            bench.model(**features(one.prompts, one.images, CPU)).logits[0, -1]
            for one in (
                fine_workloads.Workload("", load.prompts[n : n + 1], load.images[n : n + 1])
                for n in range(len(load))
            )
        ]
        together = bench.cross.run(load, batch=3)
    assert len({one.length for one in load.prompts}) > 1
    assert together == pytest.approx([float(one[yes] - one[no]) for one in alone], abs=1e-3)
    assert torch.tensor(together).std() > 0.1


def test_cross_encoder_says_why_it_does_not_run(
    bench: fine.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    cross = cross_encoding(bench.model, CPU)
    assert cross.encoder is None
    assert cross.note.startswith("not run: ")
    without = replace(bench, cross=cross)
    assert "cross_encoder" not in {way.name for way in without.ways()}


def test_a_document_that_more_queries_meet_needs_less_arithmetic_a_pair(bench: fine.Bench) -> None:
    writer = fine_workloads.Writer()
    one, ten = (fine_workloads.nightly(writer, 1, queries) for queries in (1, 10))
    config = bench.model.config
    assert necessary_flops(config, ten) < 4 * necessary_flops(config, one)


def test_the_result_has_the_common_form(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_json(
        path, "fine", {"cores": 2}, [Row("a", 1.5, "x", 2.0, ">="), Row("b", 3, "")], quick=True
    )
    assert json.loads(path.read_text()) == {
        "benchmark": "fine",
        "machine": {"cores": 2},
        "quick": True,
        "rows": [
            {"metric": "a", "value": 1.5, "unit": "x", "goal": 2.0, "sense": ">="},
            {"metric": "b", "value": 3, "unit": "", "goal": None, "sense": None},
        ],
    }


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row("a", 2.0, "x", 2.0, ">="), True),
        (Row("a", 1.9, "x", 2.0, ">="), False),
        (Row("a", 1.9, "x", 2.0, "<="), True),
        (Row("a", 1.9, "x"), None),
    ],
)
def test_a_goal_is_met_in_its_sense(row: Row, met: bool | None) -> None:
    assert row.met is met


def test_kendalls_tau_counts_pairs_that_agree_less_those_that_do_not() -> None:
    assert precision.kendall([1, 2, 3], [4, 5, 6]) == 1
    assert precision.kendall([1, 2, 3], [6, 5, 4]) == -1
    assert precision.kendall([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert precision.kendall([1, 2, 2], [1, 2, 3]) == pytest.approx(2 / 6**0.5)
