"""Ablation, run files and the page, of answers that are written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from repick.client import Hit
from repick.evaluation.ablation import readout_of, reordered, rows
from repick.evaluation.asking import Asked
from repick.evaluation.dataset import Dataset, Record, build
from repick.evaluation.published import published
from repick.evaluation.report import page
from repick.evaluation.results import FEW_QUERIES, Scored, as_json, write_runs
from repick.specs import Readout

EVIL = "<script>alert('evil')</script>"


def hit(rank: int, name: str, margin: float, coarse_rank: int, coarse: float) -> Hit:
    return Hit(
        rank, name, 1 / (1 + 2.718281828**-margin), margin, 0.9, 1.0, None, coarse_rank, coarse
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    Image.new("RGB", (400, 300), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    documents = [
        Record("a", image=tmp_path / "red.png"),
        Record("b", EVIL),
        Record("c", "see", tmp_path / "broken.png"),
    ]
    queries = [Record("won", "a red one"), Record("lost", EVIL)]
    return build("Flickr30K small", documents, queries, {"won": {"a": 1}, "lost": {"b": 1}})


@pytest.fixture
def asked() -> Asked:
    won = [hit(1, "a", 2, 2, 0.5), hit(2, "b", 1, 1, 0.6), hit(3, "c", -1, 3, 0.1)]
    lost = [hit(1, "c", 3, 2, 0.3), hit(2, "b", 0, 1, 0.9), hit(3, "a", -1, 3, 0.2)]
    return Asked("m:choice:plain", "f" * 64, False, {"won": won, "lost": lost}, 6, 2, 0, 1.5, ["j"])


def test_both_orders_and_the_gain(dataset: Dataset, asked: Asked) -> None:
    one = Scored.of(asked, dataset, {})
    assert one.coarse["R@1"] == {"won": 0, "lost": 1}
    assert one.fine["R@1"] == {"won": 1, "lost": 0}
    assert (one.gains["R@1"].mean, one.harmful) == (0, False)


def test_an_interval_of_a_handful_of_queries_is_said_to_be_worth_little(
    dataset: Dataset, asked: Asked
) -> None:
    one = Scored.of(asked, dataset, {})
    assert one.few_queries
    assert one.as_json()["few_queries"]
    many = {str(no): float(no % 2) for no in range(FEW_QUERIES)}
    assert not replace(one, coarse=one.coarse | {"R@1": many}).few_queries


def test_another_k_and_another_blend_from_the_same_scores(dataset: Dataset, asked: Asked) -> None:
    assert reordered(asked.hits["won"], Readout.CHOICE, 3, 0.0) == ["a", "b", "c"]
    assert reordered(asked.hits["won"], Readout.CHOICE, 1, 0.0) == ["b"]
    assert reordered(asked.hits["lost"], Readout.CHOICE, 3, 1.0) == ["b", "c", "a"]
    found = rows(asked, dataset.qrels, 20)
    assert {"coarse only", "k 5", "k 10", "k 20", "blend 0", "blend 0.5"} < found.keys()
    assert "k 50" not in found
    assert found["blend 0"] == found["k 20"]
    assert found["coarse only"]["R@1"] == 0.5
    without = rows(replace(asked, scorer="m:paper:plain"), dataset.qrels, 20)
    assert set(without) == {"coarse only", "k 5", "k 10", "k 20"}, "it has no margin to blend"


def test_the_papers_readout_is_reordered_by_score_then_entropy() -> None:
    def judged(name: str, score: float, entropy: float, coarse_rank: int) -> Hit:
        return Hit(1, name, score, None, 1.0, entropy, None, coarse_rank, 0.5)

    hits = [judged("a", 1.0, 0.2, 3), judged("b", 1.0, 0.1, 4), judged("c", 2.0, 0.9, 2)]
    assert reordered(hits, Readout.PAPER, 4, 0.0) == ["c", "b", "a"]
    assert reordered(hits, Readout.PAPER, 3, 0.5) == ["c", "a"]


def test_a_readout_is_read_from_the_scorers_name() -> None:
    assert readout_of("a:b:yes_no") is Readout.YES_NO
    assert readout_of("demo-judge:choice_balanced:plain") is Readout.CHOICE_BALANCED


def test_a_run_file_keeps_the_order(dataset: Dataset, asked: Asked, tmp_path: Path) -> None:
    files = write_runs(tmp_path, [Scored.of(asked, dataset, {})])
    assert [file.name for file in files] == ["coarse.trec", "m-choice-plain.trec"]
    lines = files[1].read_text().splitlines()
    assert lines[:2] == ["won Q0 a 1 3 m-choice-plain", "won Q0 b 2 2 m-choice-plain"]


def test_the_page_escapes_texts_and_shows_published_figures(dataset: Dataset, asked: Asked) -> None:
    one = Scored.of(asked, dataset, rows(asked, dataset.qrels, 3))
    result = as_json(dataset, 3, [one])
    made = page(dataset, 3, [one], result)
    assert EVIL not in made
    assert "&lt;script&gt;" in made
    assert "94.5" in made  # RetLLM on Flickr30K, image to text
    assert made.count("data:image/svg+xml") == 5
    assert "data:image/png" in made
    assert "Largest gains" in made
    assert "Largest losses" in made


def test_published_figures_are_of_known_sets_only() -> None:
    assert published("flickr30k-test")[-1] == {
        "method": "RetLLM",
        "image_to_text": 94.5,
        "text_to_image": 82.0,
    }
    assert published("SugarCrepe_swap")[2]["swap"] is None
    assert published("my own") == []
