"""What the demo prints can be told apart: no word that matters is cut off."""

from __future__ import annotations

import io

from rich.console import Console

from demo.answers import Answer, Answered
from demo.corpus import Round, rounds
from demo.drawn import scene_items
from demo.show import WIDE, Screen
from repick.client import Hit, Ranking

ITEMS = {one.id: one for one in scene_items()}
HITS = tuple(
    Hit(no, name, 0.5, 0.0, 1.0, 0.1, None, no, 0.5, 0) for no, name in enumerate(ITEMS, 1)
)


def words(text: str) -> list[str]:
    """All words of a screen, in the order of its lines."""
    return text.replace("…", " CUT ").split()


def screen() -> tuple[Screen, io.StringIO]:
    file = io.StringIO()
    return Screen(Console(file=file, width=WIDE)), file


def drawn_round() -> Round:
    return next(one for one in rounds() if one.queries[0].target in ITEMS)


def test_what_each_hit_shows_is_printed_whole() -> None:
    hits = HITS[:5]
    shown, file = screen()
    query = drawn_round().queries[0]
    ranking = Ranking(0, 5, 5, False, "exact", None, hits, ())
    shown.in_full(Answer.of(query, ranking), ranking, ITEMS)
    printed = words(file.getvalue())
    assert "CUT" not in printed
    for hit in hits:
        for word in ITEMS[hit.id].metadata["shows"].split():
            assert word in printed


def test_queries_and_their_first_hits_are_printed_whole() -> None:
    asked = drawn_round()
    answers = tuple(Answer(query, (query.target,), (query.target,)) for query in asked.queries)
    shown, file = screen()
    shown.answers(Answered(asked, answers, judged=True), ITEMS)
    assert "CUT" not in words(file.getvalue())
