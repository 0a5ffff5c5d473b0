"""The contact sheet frames what is right, and nothing else."""

from __future__ import annotations

from PIL import Image, ImageColor

from demo.answers import Answer, Answered
from demo.corpus import CAPTIONS, CORPORA, SCENES, Round, rounds
from demo.sheet import CELL, FRAME, GAP, HEADING, MARGIN, RIGHT, WIDTH, contact_sheet

GREEN = ImageColor.getrgb(RIGHT)
FRAME_PIXELS = CELL**2 - (CELL - 2 * FRAME) ** 2


def green(sheet: Image.Image, top: int) -> int:
    """Pixels of the frame's colour in a row of the sheet."""
    row = sheet.crop((0, top, WIDTH, top + CELL))
    return sum(count for count, colour in row.getcolors(1 << 24) or [] if colour == GREEN)


def sheet_of(one: Round, *orders: tuple[list[str], list[str]]) -> Image.Image:
    pairs = zip(one.queries, orders, strict=False)
    answers = [Answer(query, tuple(coarse), tuple(fine)) for query, (coarse, fine) in pairs]
    items = {item.id: item for item in CORPORA[one.corpus]()}
    return contact_sheet([Answered(one, tuple(answers), judged=True)], items)


def test_right_hits_among_the_first_five_are_framed_in_either_order() -> None:
    one = rounds()[0]
    others = [item.id for item in CORPORA[SCENES]()[20:26]]
    target = [query.target for query in one.queries]
    sheet = sheet_of(
        one,
        ([*others[:3], target[0]], [target[0], *others]),
        ([*others[:5], target[1]], [target[1]]),
        ([*others], [*others]),
    )
    first = MARGIN + HEADING
    tops = [first + no * (CELL + GAP) for no in range(3)]
    assert [green(sheet, top) for top in tops] == [2 * FRAME_PIXELS, FRAME_PIXELS, 0]


def test_texts_are_hits_too_and_an_empty_ranking_leaves_its_row_empty() -> None:
    one = rounds()[1]
    assert one.corpus == CAPTIONS
    sheet = sheet_of(one, ([one.queries[0].target], []), ([], []))
    assert sheet.width == WIDTH
    assert green(sheet, MARGIN + HEADING) == FRAME_PIXELS
    cell = (MARGIN + 3 * CELL, MARGIN + HEADING + CELL + GAP, WIDTH, sheet.height - MARGIN)
    assert sheet.crop(cell).getcolors() == [((WIDTH - cell[0]) * (cell[3] - cell[1]), (255,) * 3)]


def test_places_are_ranks_from_one() -> None:
    query = rounds()[0].queries[0]
    answer = Answer(query, ("a", query.target), ("a", "b"))
    assert (answer.place(answer.coarse), answer.place(answer.fine)) == (2, None)
