"""`repick eval` against the running service: a labelled folder becomes figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stack import Stack

pytestmark = pytest.mark.acceptance

COLOURS = ("red", "green", "blue", "black", "white", "pink")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    (root / "qrels").mkdir()
    documents = [{"_id": one, "text": f"a {one} thing"} for one in COLOURS]
    queries = [{"_id": f"q-{one}", "text": f"something {one}"} for one in COLOURS[:4]]
    judged = [f"q-{one}\t{one}\t1" for one in COLOURS[:4]]
    for name, records in (("corpus", documents), ("queries", queries)):
        lines = (json.dumps(record) + "\n" for record in records)
        (root / f"{name}.jsonl").write_text("".join(lines))
    (root / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]))
    return root


@pytest.fixture(scope="module")
def environment(stack: Stack) -> dict[str, str]:
    key = stack.client("evaluation").http.headers["authorization"].split()[1]
    return {**os.environ, "REPICK_API_URL": stack.api_url, "REPICK_API_KEY": key}


def evaluated(environment: dict[str, str], *arguments: object) -> dict[str, Any]:
    code = "from repick.cli.app import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code, "eval", *map(str, arguments), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "untrained" in run.stderr
    value: dict[str, Any] = json.loads(run.stdout)
    return value


def test_figures_come_from_the_rankings_and_no_pair_is_scored_twice(
    environment: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    first = evaluated(environment, folder, "--k", 4, "--out", tmp_path, "--ablate")
    assert (first["documents"], first["queries"]) == (6, 4)
    by_name = {one["scorer"].partition(":")[2]: one for one in first["scorers"]}
    assert set(by_name) == {"choice", "choice:plain", "yes_no", "yes_no:plain"}
    for one in by_name.values():
        assert (one["pairs"], one["reused_pairs"], one["failed_pairs"]) == (16, 0, 0)
        assert one["ablation"]["blend 0"] == one["fine"]
        assert one["ablation"]["coarse only"] == one["coarse"]
        gain = one["gain"]["MRR"]
        assert gain["mean"] == pytest.approx(one["fine"]["MRR"] - one["coarse"]["MRR"])
        assert gain["low"] <= gain["mean"] <= gain["high"]
    assert len((tmp_path / "coarse.trec").read_text().splitlines()) == 16
    assert "</html>" in (tmp_path / "report.html").read_text()

    again = evaluated(environment, folder, "--k", 4, "--scorer", by_name["choice"]["scorer"])
    assert again["scorers"][0]["jobs"] == by_name["choice"]["jobs"]
    deeper = evaluated(environment, folder, "--k", 6, "--scorer", by_name["choice"]["scorer"])
    assert deeper["scorers"][0]["pairs"] == 24
    assert deeper["scorers"][0]["reused_pairs"] == 16
