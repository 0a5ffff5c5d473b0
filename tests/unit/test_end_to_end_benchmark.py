"""What the end-to-end benchmark makes of its rounds; the rounds themselves need the whole stack."""

from __future__ import annotations

import pytest

from benchmarks.end_to_end import AT_ONCE, LARGE_K, REPEATS, SMALL_K, Round, collection, report


def a_round(seconds: float, queries: int, k: int) -> Round:
    return Round(seconds, {f"q{n}": tuple(f"d{m}" for m in range(k)) for n in range(queries)})


def test_share_is_the_medians_of_the_rates_over_the_scorers_own() -> None:
    rounds = {"jobs": [a_round(2.0, 1, 200), a_round(4.0, 1, 200), a_round(1.0, 1, 200)]}
    rows = {row.metric: row for row in report(rounds, {"jobs": [0.5, 2.0, 1.0]})}
    assert rows["jobs_pairs_per_s"].value == 100
    assert rows["jobs_scorer_pairs_per_s"].value == 200
    assert rows["jobs_share"].value == pytest.approx(0.5)
    assert rows["jobs_share"].met is False


def test_there_are_pictures_and_texts_enough_for_new_pairs_in_every_round() -> None:
    items, texts = collection()
    assert len(items) >= LARGE_K > SMALL_K
    assert len(set(texts)) == len(texts)
    assert len(texts) >= REPEATS * AT_ONCE + REPEATS + 1
    assert collection()[1] == texts
