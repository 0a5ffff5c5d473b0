"""What the end-to-end benchmark makes of its rounds; the rounds themselves need the whole stack."""

from __future__ import annotations

import pytest

from benchmarks.end_to_end import (
    AT_ONCE,
    LARGE_K,
    REPEATS,
    SMALL_K,
    Round,
    report,
)
from benchmarks.end_to_end_scorer import Taken, collection


def a_round(service: float, scorer: float, queries: int, k: int) -> Round:
    ranked = {f"q{n}": tuple(f"d{m}" for m in range(k)) for n in range(queries)}
    return Round(ranked, Taken(service, 3.0), Taken(scorer, 2.0))


def test_share_is_the_median_of_rounds_in_which_service_and_scorer_took_turns() -> None:
    found = [a_round(2.0, 0.5, 1, 200), a_round(4.0, 2.0, 1, 200), a_round(1.0, 0.9, 1, 200)]
    rows = {row.metric: row for row in report({"jobs": found})}
    assert rows["jobs_pairs_per_s"].value == 100
    assert rows["jobs_scorer_pairs_per_s"].value == pytest.approx(200 / 0.9)
    assert rows["jobs_share"].value == pytest.approx(0.5)
    assert rows["jobs_share"].met is False
    assert rows["jobs_processor_over_scorer"].value == pytest.approx(1.5)


def test_there_are_pictures_and_texts_enough_for_new_pairs_in_every_round() -> None:
    items, texts = collection()
    assert len(items) >= LARGE_K > SMALL_K
    assert len(set(texts)) == len(texts)
    assert len(texts) >= REPEATS * AT_ONCE + REPEATS + 1
    assert collection()[1] == texts
