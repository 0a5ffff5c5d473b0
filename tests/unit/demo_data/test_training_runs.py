"""Training learns, resumes where it was, and leaves folders that the worker loads and scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from demo.data.scenes import Error, Split
from demo.training import encoder, judge
from demo.training.batches import Maker
from demo.training.card import card
from demo.training.collate import collate, pack
from demo.training.encoder_scores import encoder_figures, recall
from demo.training.evaluate import decision, judge_figures, load_judge
from demo.training.feed import feed
from demo.training.grow import grow
from demo.training.judge_model import JudgeTrainer, build_judge
from demo.training.matches import Asked
from demo.training.probes import probes
from demo.training.recipe import ENCODERS, JUDGES
from demo.training.rows import Picture, Row
from demo.training.run import CHECKPOINT, LOG, rate_at
from demo.training.speech import Speech
from repick.content import LoadedContent
from repick.specs import Readout
from worker.fine.scorer import FineModel

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def judge_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    judge.train(folder, JUDGES["smoke"], CPU, seed=1)
    return folder


@pytest.fixture(scope="module")
def encoder_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    encoder.train(folder, ENCODERS["smoke"], CPU, seed=1)
    return folder


@pytest.fixture(scope="module")
def model(judge_run: Path) -> FineModel:
    return load_judge(judge_run / "model")


def log(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = map(json.loads, (run / LOG).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["kind"] == kind]


def test_the_judges_losses_fall_and_are_logged_by_kind_of_row(judge_run: Path) -> None:
    lines = log(judge_run)
    assert [line["step"] for line in lines] == [5, 10, 15, 20, 25, 30]
    assert {line["stage_name"] for line in lines} == {"one", "judge"}
    assert lines[-1]["loss"]["answer"] < 0.7 * lines[0]["loss"]["answer"]
    assert lines[-1]["loss"]["cell_class"] < 0.7 * lines[0]["loss"]["cell_class"]
    validation = log(judge_run, "validation")[-1]
    assert len({error.value for error in Error} & set(validation["accuracy"])) >= 8
    assert sum(validation["rows"].values()) > 80


def test_the_encoders_losses_fall(encoder_run: Path) -> None:
    lines = log(encoder_run)
    assert lines[-1]["loss"]["style"] < lines[0]["loss"]["style"]
    assert lines[-1]["loss"]["image_to_text"] < lines[0]["loss"]["image_to_text"]


def test_a_paused_run_goes_on_to_the_same_weights(judge_run: Path, tmp_path: Path) -> None:
    recipe = JUDGES["smoke"]
    paused = replace(recipe, budget=replace(recipe.budget, pause_at=13))
    judge.train(tmp_path, paused, CPU, seed=1)
    assert log(tmp_path)[-1]["step"] == 13
    judge.train(tmp_path, recipe, CPU, seed=1)
    whole = load_file(judge_run / "model" / "model.safetensors")
    resumed = load_file(tmp_path / "model" / "model.safetensors")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("trained", ["judge", "encoder"])
def test_a_run_begins_with_a_trained_models_weights_and_tokenizer(
    trained: str, judge_run: Path, encoder_run: Path, tmp_path: Path
) -> None:
    still = {"rate": 0.0, "steps": 1}  # one step that changes nothing
    if trained == "judge":
        given, gentle = judge_run / "model", JUDGES["smoke"].continued()
        recipe = replace(gentle, budget=replace(gentle.budget, **still))
        judge.train(tmp_path, recipe, CPU, seed=2, begin_with=given)
    else:
        given, smoke = encoder_run / "model", ENCODERS["smoke"]
        changed = replace(smoke, budget=replace(smoke.budget, **still))
        encoder.train(tmp_path, changed, CPU, seed=2, begin_with=given)
    before, after = (load_file(one / "model.safetensors") for one in (given, tmp_path / "model"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    words = [(one / "tokenizer.json").read_text() for one in (given, tmp_path / "model")]
    assert words[0] == words[1]


def test_a_run_does_not_begin_with_what_it_cannot_use(judge_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tokenizer"):
        judge.train(tmp_path, JUDGES["smoke"], CPU, seed=1, begin_with=tmp_path)
    size = replace(JUDGES["smoke"].size, layers=8)
    with pytest.raises(ValueError, match="not a judge of this size"):
        judge.train(
            tmp_path,
            replace(JUDGES["smoke"], size=size),
            CPU,
            seed=1,
            begin_with=judge_run / "model",
        )


def test_a_run_whose_time_ends_first_comes_to_its_last_stage(tmp_path: Path) -> None:
    smoke = JUDGES["smoke"]
    short = replace(smoke, budget=replace(smoke.budget, steps=100_000, minutes=0.08, log_every=1))
    judge.train(tmp_path, short, CPU, seed=1)
    assert log(tmp_path)[0]["stage_name"] == short.stages[0].name
    assert log(tmp_path)[-1]["stage_name"] == short.stages[-1].name


def test_a_checkpoint_of_another_seed_is_refused(encoder_run: Path) -> None:
    with pytest.raises(ValueError, match="seed 1, not 2"):
        encoder.train(encoder_run, ENCODERS["smoke"], CPU, seed=2)


def test_the_worker_asks_and_scores_as_training_did(model: FineModel) -> None:
    speech = Speech(model.family.tokenizer)
    [probe] = probes(1, Split.VALIDATION)
    spec = next(s for s in model.specs if s.readout is Readout.YES_NO and not s.enhancement)
    text = LoadedContent(1, probe.right.text)
    pair = model.prepare(text, probe.image, spec)
    turn = speech.match(text, probe.image, Asked(Readout.YES_NO, 0, False, 0).question)
    assert tuple(pair.prompts[0].token_ids(speech.image_token)) == turn.ids
    assert probe.image.image is not None
    batch = collate(
        [Picture(probe.image.image, probe.scene)], [Row(turn, (0,), ((len(turn.ids) - 1, 0),))]
    )
    trainer = JudgeTrainer(model.family._model)  # type: ignore[attr-defined]
    with torch.inference_mode():
        logits = model.family.decoder.head @ trainer._hidden(batch)[1][0, -1]
    yes, no = (logits[list(ids)].logsumexp(0) for ids in model._labels[Readout.YES_NO][0].ids)
    [score] = model.score([pair])
    assert decision(score) == pytest.approx(float(yes - no), abs=1e-4)


def test_rows_that_share_a_sequence_are_answered_as_if_alone(model: FineModel) -> None:
    maker = Maker(Speech(model.family.tokenizer), JUDGES["smoke"].stages[-1], rows=4)
    pictures, rows = maker.batch(6, seed=3, step=1)
    assert len(pack(rows)) < len(rows) / 2, "most rows share their beginning"
    trainer = JudgeTrainer(model.family._model).eval()  # type: ignore[attr-defined]

    def answers(asked: list[Row]) -> torch.Tensor:
        batch = collate(pictures, asked)
        hidden = trainer._hidden(batch)[1]
        order = batch.answers[:, 3].argsort(stable=True)
        sequence, at, *_ = batch.answers[order].unbind(1)
        return torch.as_tensor(trainer.model.lm_head(hidden[sequence, at]))

    with torch.inference_mode():
        together, alone = answers(rows), torch.cat([answers([row]) for row in rows])
    assert together.std() > 0.1
    assert torch.allclose(together, alone, atol=1e-4)


def test_new_layers_change_no_answer_at_first(judge_run: Path, tmp_path: Path) -> None:
    recipe = JUDGES["smoke"]
    deeper = replace(recipe, size=replace(recipe.size, layers=recipe.size.layers + 2))
    grow(judge_run, tmp_path / "grown", deeper, after=3, stage=1, seed=2)
    state = torch.load(tmp_path / "grown" / CHECKPOINT, weights_only=True)
    tokenizer = judge.tokenizer_of(tmp_path / "grown", deeper)
    trainer = JudgeTrainer(build_judge(deeper.size, tokenizer))
    trainer.load_state_dict(state["module"])
    judge.save_model(tmp_path / "grown" / "model", trainer, tokenizer)
    [probe] = probes(1, Split.VALIDATION)
    text = LoadedContent(1, probe.right.text)
    scores = []
    for folder in (judge_run, tmp_path / "grown"):
        model = load_judge(folder / "model")
        spec = next(s for s in model.specs if s.readout is Readout.YES_NO and not s.enhancement)
        [score] = model.score([model.prepare(text, probe.image, spec)])
        scores.append(decision(score))
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_the_judge_is_measured_for_every_readout_both_ways(model: FineModel) -> None:
    asked = probes(4, Split.TEST)
    figures = judge_figures(model, asked)
    assert set(figures) == {readout.value for readout in Readout}
    assert not model.specs[0].untrained
    for each in figures.values():
        for direction in ("text_to_image", "image_to_text"):
            assert set(each[direction]["classes"]) == {"add", "replace", "swap"}
            values = each[direction]["accuracy"].values()
            assert all(0 <= value <= 1 for value in values)
            assert sum(each[direction]["pairs"].values()) == sum(len(p.wrong) for p in asked)


def test_the_encoder_is_measured_as_the_worker_loads_it(encoder_run: Path) -> None:
    figures = encoder_figures(encoder_run / "model", probes(8, Split.TEST), styles=())
    assert set(figures["classes"]) == {"add", "replace", "swap"}
    assert 0 <= figures["text_to_image"]["r1"] <= figures["text_to_image"]["r20"] == 1


def test_recall_counts_ties_against_the_right_one() -> None:
    cosines = np.array([[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.9, 0.8, 0.7]], np.float32)
    assert recall(cosines, (1, 2, 3)) == {"r1": 0.3333, "r2": 0.6667, "r3": 1.0}


def test_a_card_takes_its_figures_from_the_log_and_the_evaluation(
    encoder_run: Path, model: FineModel, judge_run: Path
) -> None:
    asked = probes(4, Split.TEST)
    for run, figures in (
        (judge_run, judge_figures(model, asked)),
        (encoder_run, encoder_figures(encoder_run / "model", asked, styles=())),
    ):
        text = card(run, {"scenes": 4, "split": "test", "figures": figures}, "1 core", seed=1)
        assert "30 steps" in text
        assert "{" not in text
        assert "swap_colour" in text


def test_the_rate_rises_then_falls_to_a_little() -> None:
    rates = [rate_at(step / 100) for step in range(101)]
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates.index(max(rates)) == 2
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(0.02)


def squared(step: int) -> int:
    return step * step


def test_worker_processes_make_the_same_batches_in_the_same_order() -> None:
    assert list(feed(squared, 3, 9, workers=2)) == list(feed(squared, 3, 9, workers=0))
