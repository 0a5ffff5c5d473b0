"""A contact sheet: every query with its coarse and its fine top five, the right ones in green."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from demo.answers import Answer, Answered
from demo.documents import DemoItem

TOP = 5
CELL, GAP, MARGIN, HEADING = 112, 6, 16, 34
"""Pixels: a cell's side, what is between cells, around the sheet, and the height of a heading."""

QUERY_WIDTH = 2 * CELL
PAPER, INK, FAINT, RIGHT = "#ffffff", "#22252b", "#d5d8dd", "#1d9a49"
FRAME = 4

_COARSE = MARGIN + QUERY_WIDTH + 4 * GAP
_FINE = _COARSE + TOP * (CELL + GAP) + 3 * GAP
WIDTH = _FINE + TOP * (CELL + GAP) - GAP + MARGIN
_LINE, _SIZE = 14, 12


def contact_sheet(rounds: Sequence[Answered], items: Mapping[str, DemoItem]) -> Image.Image:
    """The sheet in RGB, WIDTH pixels wide; `items` are all documents by their ids."""
    rows = sum(len(one.answers) for one in rounds)
    height = 2 * MARGIN + len(rounds) * HEADING + rows * (CELL + GAP)
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    pen, top = ImageDraw.Draw(sheet), MARGIN
    for one in rounds:
        _heading(pen, one, top)
        top += HEADING
        for answer in one.answers:
            _row(sheet, pen, answer, items, top)
            top += CELL + GAP
    return sheet


def _heading(pen: ImageDraw.ImageDraw, one: Answered, top: int) -> None:
    title = one.round.title.replace("→", "to")  # Pillow's own font has no arrow
    fine = "judge's top five" if one.judged else "the same (not judged)"
    for x, words in ((MARGIN, title), (_COARSE, "encoder's top five"), (_FINE, fine)):
        pen.text((x, top + 12), words, INK, _font(_SIZE + 2))


def _row(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    answer: Answer,
    items: Mapping[str, DemoItem],
    top: int,
) -> None:
    query = answer.query
    if query.image is not None:
        _picture(sheet, query.image, MARGIN, top)
    if query.text:
        left, width = (MARGIN + CELL, CELL) if query.image else (MARGIN, QUERY_WIDTH)
        _text(pen, query.text, left, top, width)
    for order, start in ((answer.coarse, _COARSE), (answer.fine, _FINE)):
        for no, item_id in enumerate(order[:TOP]):
            left = start + no * (CELL + GAP)
            _hit(sheet, pen, items[item_id], left, top)
            _frame(pen, left, top, right=item_id == query.target)


def _hit(sheet: Image.Image, pen: ImageDraw.ImageDraw, item: DemoItem, left: int, top: int) -> None:
    if item.image is not None:
        _picture(sheet, item.image, left, top)
    elif item.text:
        _text(pen, item.text, left, top, CELL)


def _picture(sheet: Image.Image, encoded: bytes, left: int, top: int) -> None:
    with Image.open(io.BytesIO(encoded)) as opened:
        picture = opened.convert("RGBA").resize((CELL - 2 * FRAME,) * 2, Image.Resampling.BICUBIC)
    sheet.paste(picture, (left + FRAME, top + FRAME), picture)


def _text(pen: ImageDraw.ImageDraw, words: str, left: int, top: int, width: int) -> None:
    """As many lines as there is room for, in the cell's middle."""
    room = CELL // _LINE - 1
    lines = list(_wrapped(words, width - 4 * FRAME))[:room]
    start = top + (CELL - len(lines) * _LINE) // 2
    for no, line in enumerate(lines):
        pen.text((left + 2 * FRAME, start + no * _LINE), line, INK, _font(_SIZE))


def _wrapped(words: str, width: int) -> Iterator[str]:
    letter = _font(_SIZE).getlength("the small blue square") / len("the small blue square")
    yield from textwrap.wrap(words, max(1, int(width / letter)))


def _frame(pen: ImageDraw.ImageDraw, left: int, top: int, *, right: bool) -> None:
    box = (left, top, left + CELL - 1, top + CELL - 1)
    pen.rectangle(box, outline=RIGHT if right else FAINT, width=FRAME if right else 1)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
