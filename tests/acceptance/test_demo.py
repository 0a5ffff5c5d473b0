"""`make demo` as a newcomer runs it: from nothing to rankings, and nothing is left running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

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
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout, folder


def test_each_kind_of_query_has_its_ranking(output: tuple[str, Path]) -> None:
    text, _ = output
    for kind in ("text → image", "image → text", "image + text → image", "several queries"):
        assert kind in text
    rows = re.findall(
        r"^ +[1-5] +(?:scene|photo|caption)-\S+ .* \d\.\d{3} +[+-]\d+\.\d{3}", text, re.M
    )
    assert len(rows) == 6 * 5 + 4 * 3
    assert re.search(r"\d+ → 1 +(layer \d|–)", text)
    assert "untrained" in text


def test_several_queries_reuse_what_single_ones_scored(output: tuple[str, Path]) -> None:
    text, _ = output
    accounts = re.findall(r"(\d+) pairs scored, (\d+) from the ledger", text)
    assert [int(scored) for scored, _ in accounts[:6]] == [20] * 6
    scored, reused = map(int, accounts[6])
    assert reused >= 40
    assert scored + reused == 80


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
