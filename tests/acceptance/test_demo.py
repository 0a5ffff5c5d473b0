"""`make demo` as a newcomer runs it: from nothing to rankings, and nothing is left running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from demo.models import shipped
from demo.sheet import WIDTH

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("demo")
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("REPICK_")}
    run = subprocess.run(
        [sys.executable, "-m", "demo"],
        env={**inherited, "REPICK_DATA_DIR": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout, folder


def test_each_kind_of_query_is_answered_in_both_corpora(output: tuple[str, Path]) -> None:
    text, _ = output
    for kind in ("text → image", "image → text", "image + text → image"):
        assert re.search(rf"^scenes: {re.escape(kind)}$", text, re.M)
    for kind in ("text → image", "image → image, across styles", "image + text → image"):
        assert re.search(rf"^emoji: {re.escape(kind)}$", text, re.M)
    accounts = re.findall(r"(\d+) pairs scored, (\d+) from the ledger", text)
    assert [int(reused) for _, reused in accounts[:-1]] == [0] * 6
    assert all(int(scored) > 0 for scored, _ in accounts[:-1])
    assert len(re.findall(r"right one first: encoder \d", text)) == 6


def test_one_ranking_is_shown_with_all_its_figures(output: tuple[str, Path]) -> None:
    text, _ = output
    rows = re.findall(r"^ +[1-5] +scene-\S+ .* \d\.\d{3} +[+-]\d+\.\d{3}", text, re.M)
    assert len(rows) == 5
    assert re.search(r"\d+ → 1 +(layer \d|–)", text)


def test_models_that_were_not_trained_are_said_to_be_so(output: tuple[str, Path]) -> None:
    assert ("untrained" in output[0]) is not shipped()


def test_a_second_job_over_the_same_pairs_scores_nothing(output: tuple[str, Path]) -> None:
    scored, reused = re.findall(r"(\d+) pairs scored, (\d+) from the ledger", output[0])[-1]
    assert (int(scored), int(reused)) == (0, 80)


def test_the_contact_sheet_lies_where_it_is_said_to(output: tuple[str, Path]) -> None:
    text, folder = output
    said = re.search(r"All of it as pictures: (\S+\.png)", text)
    assert said
    assert Path(said[1]).is_relative_to(folder.resolve())
    with Image.open(said[1]) as sheet:
        assert (sheet.format, sheet.width) == ("PNG", WIDTH)


def test_it_says_where_to_look(output: tuple[str, Path]) -> None:
    text, _ = output
    assert re.search(r"http://127\.0\.0\.1:\d+/docs", text)
    assert "Flower" in text


def test_nothing_is_left_running(output: tuple[str, Path]) -> None:
    _, folder = output
    assert [one for one in psutil.process_iter() if _belongs(one, folder)] == []


def _belongs(process: psutil.Process, folder: Path) -> bool:
    """A server has the folder among its arguments, our processes have it in their environment."""
    try:
        return str(folder) in " ".join([*process.cmdline(), *process.environ().values()])
    except psutil.Error:
        return False
