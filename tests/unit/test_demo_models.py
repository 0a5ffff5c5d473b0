"""The demo's trained models are used where they are, and only as they were sealed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from demo import models
from repick.errors import ModelError


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    for part in (models.ENCODER, models.JUDGE):
        (tmp_path / part / "more").mkdir(parents=True)
        (tmp_path / part / "config.json").write_text(f'{{"of": "{part}"}}')
        (tmp_path / part / "more" / "model.safetensors").write_bytes(part.encode())
        (tmp_path / part / "README.md").write_text("a card")
    models.seal(tmp_path)
    return tmp_path


def test_sealed_models_are_served_under_their_names_at_the_size_of_training(
    sealed: Path, tmp_path: Path
) -> None:
    found = models.settings(tmp_path / "unused", sealed)
    assert found["encoder"] == str(sealed / "encoder")
    assert found["scorer"] == str(sealed / "judge")
    assert (found["encoder_name"], found["scorer_name"]) == ("demo-encoder", "demo-judge")
    assert found["min_pixels"] == found["max_pixels"] == 96 * 96
    assert not (tmp_path / "unused").exists()


def test_sums_are_as_other_tools_write_and_read_them(sealed: Path) -> None:
    command = ["sha256sum", "--check", "--strict", models.SUMS]
    checked = subprocess.run(command, cwd=sealed, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(": OK") == 4


@pytest.mark.parametrize("name", ["encoder/config.json", "judge/more/model.safetensors"])
def test_a_changed_a_missing_and_an_added_file_are_each_named(sealed: Path, name: str) -> None:
    before = (sealed / name).read_bytes()
    (sealed / name).write_bytes(before + b" ")
    with pytest.raises(ModelError, match=f"{name} is not the file"):
        models.check(sealed)
    (sealed / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        models.check(sealed)
    (sealed / name).write_bytes(before)
    (sealed / "judge" / "chat_template.jinja").write_text("another")
    with pytest.raises(ModelError, match=r"judge/chat_template\.jinja is not in"):
        models.settings(sealed, sealed)


def test_a_card_may_change(sealed: Path) -> None:
    (sealed / "judge" / "README.md").write_text("a longer card")
    models.check(sealed)


def test_models_without_sums_or_without_files_are_refused(sealed: Path) -> None:
    (sealed / models.SUMS).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        models.check(sealed)
    (sealed / "encoder" / "config.json").unlink()
    with pytest.raises(ModelError, match="holds no model"):
        models.seal(sealed)


def test_where_none_is_shipped_the_stand_ins_take_their_place(
    demo_models: Path, tmp_path: Path
) -> None:
    found = models.settings(demo_models, tmp_path)
    assert found["encoder"] == str(demo_models / "clip-tiny-untrained")
    assert found["scorer"] == str(demo_models / "qwen2.5-vl-tiny-untrained")
    assert "scorer_name" not in found


def test_shipped_models_are_those_that_were_sealed() -> None:
    if not models.shipped():
        pytest.skip("no trained models in this checkout")
    models.check()
