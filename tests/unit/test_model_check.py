"""The doctor's check of models: what is there, what it needs, whether it can judge at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from repick.doctor import Finding, Verdict, tried_models
from repick.settings import Settings, read_settings
from worker import __main__ as worker
from worker import check


def by_part(findings: list[Finding]) -> dict[str, Finding]:
    return {one.part: one for one in findings}


def started(monkeypatch: pytest.MonkeyPatch, scorer: Path) -> None:
    """The environment of a worker of that model; no server answers it."""
    monkeypatch.setenv("REPICK_SCORER", str(scorer))
    monkeypatch.setenv("REPICK_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("REPICK_BROKER_URL", "redis://127.0.0.1:1")
    monkeypatch.setattr(worker, "configure", lambda role: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights of 10 numbers in one file and 6 in another."""
    one = {"a": torch.zeros(2, 5, dtype=torch.bfloat16)}
    save_file(one, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(6)}, tmp_path / "model-00002-of-00002.safetensors")
    return tmp_path


@pytest.mark.parametrize(("dtype", "each"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_weights_count_in_the_dtype_of_the_run(folder: Path, dtype: torch.dtype, each: int) -> None:
    assert check.weight_bytes(folder, dtype) == 16 * each


@pytest.mark.parametrize(
    ("free", "verdict"), [(63, "fail"), (64, "warn"), (79, "warn"), (80, "ok")]
)
def test_memory_is_graded_against_what_is_free(
    folder: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
) -> None:
    monkeypatch.setattr(check, "free_bytes", lambda device: free)
    found = check.check_memory("scorer", folder, torch.device("cpu"), torch.float32)
    assert found.verdict == verdict


def test_free_memory_of_this_machine_is_some() -> None:
    assert check.free_bytes(torch.device("cpu")) > 1_000_000


def test_listed_sums_are_compared_and_the_file_that_differs_is_named(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # NIST's example
    sums = tmp_path / check.SUMS
    sums.write_text(f"{abc}  model/config.json\n{abc}  other/config.json\n")
    found = check.check_sums("encoder", sums, model)
    assert (found.verdict, found.detail[:1]) == (Verdict.OK, "1")
    (model / "config.json").write_text("abd")
    found = check.check_sums("encoder", sums, model)
    assert found.verdict is Verdict.FAIL
    assert "config.json differs" in found.detail
    (model / "config.json").unlink()
    assert "is missing" in check.check_sums("encoder", sums, model).detail


def test_untrained_models_are_tried_and_said_to_be_untrained(demo_models: Path) -> None:
    settings = Settings(
        encoder=str(demo_models / "clip-tiny-untrained"),
        scorer=str(demo_models / "qwen2.5-vl-tiny-untrained"),
        readouts="choice,yes_no",
        min_pixels=4 * 28 * 28,
        max_pixels=64 * 28 * 28,
        device="cpu",
    )
    found = by_part(tried_models(settings))
    for part in ("encoder files", "encoder memory", "scorer files", "scorer label tokens"):
        assert found[part].verdict is Verdict.OK, found[part]
    for part in ("encoder model", "scorer model"):
        assert found[part].verdict is Verdict.WARN
        assert "untrained" in found[part].detail
    assert "label mass" in found["qwen2.5-vl-tiny-untrained:yes_no:plain"].detail
    assert sum(part.startswith("qwen2.5-vl-tiny-untrained:") for part in found) == 4


def test_random_weights_that_claim_to_be_trained_are_told_by_their_label_mass(
    demo_models: Path, tmp_path: Path
) -> None:
    shutil.copytree(demo_models / "qwen2.5-vl-tiny-untrained", tmp_path / "claimed")
    (tmp_path / "claimed" / "repick.json").unlink()
    settings = Settings(
        scorer=str(tmp_path / "claimed"),
        readouts="yes_no",
        min_pixels=4 * 28 * 28,
        max_pixels=64 * 28 * 28,
        device="cpu",
    )
    found = by_part(list(check.scorer(settings)))
    assert found["claimed:yes_no"].verdict is Verdict.WARN
    assert "label mass" in found["claimed:yes_no"].detail
    assert found["scorer self-test"].verdict is Verdict.FAIL


def test_a_chat_template_that_raises_is_told_by_doctor_and_worker_without_a_traceback(
    demo_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(demo_models / "qwen2.5-vl-tiny-untrained", tmp_path / "strict")
    template = "{{ raise_exception('needs a system turn') }}"
    (tmp_path / "strict" / "chat_template.jinja").write_text(template)
    started(monkeypatch, tmp_path / "strict")
    assert check.main(["scorer"]) == 1
    assert "needs a system turn" in capsys.readouterr().out
    assert worker.main(["fine"]) == 3


def test_a_folder_without_a_model_and_one_cut_short_are_faults(
    demo_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(demo_models / "clip-tiny-untrained", cut)
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    monkeypatch.setenv("REPICK_ENCODER", str(cut))
    monkeypatch.setenv("REPICK_SCORER", str(tmp_path / "none"))
    for part, said in (("encoder", ""), ("scorer", "no folder")):
        assert check.main([part]) == 1
        last = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (last["part"], last["verdict"]) == (f"{part} model", "fail")
        assert said in last["detail"]


def test_readouts_may_have_blanks_between_and_an_unknown_one_is_named_at_the_start() -> None:
    assert read_settings(readouts="choice, yes_no").readouts == "choice,yes_no"
    for unknown in ("choice,yesno", ""):
        with pytest.raises(SystemExit, match="REPICK_READOUTS: readouts are choice, "):
            read_settings(readouts=unknown)


def test_a_name_that_no_model_may_have_is_told_by_doctor_and_worker_without_a_traceback(
    demo_models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started(monkeypatch, demo_models / "qwen2.5-vl-tiny-untrained")
    monkeypatch.setenv("REPICK_SCORER_NAME", "Qwen2.5 VL")
    assert check.main(["scorer"]) == 1
    assert "must match" in capsys.readouterr().out
    assert worker.main(["fine"]) == 3
