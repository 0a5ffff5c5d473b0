"""What a file of rankings says is what was put: a program reads the same ids back."""

from __future__ import annotations

import csv
import io
import json

import pytest

from repick.exports import Format, Row, written

IDS = ("=1+1", "+1", "-1", "@sum", ":x", "'quoted'", '"', "a,b", " blank ", "文\u2028字")


def _read(form: Format, data: bytes) -> list[str]:
    text = data.decode()
    if form is Format.CSV:
        return [row["id"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    return [json.loads(line)["id"] for line in text.split("\n") if line]


@pytest.mark.parametrize("form", [Format.CSV, Format.JSONL])
def test_ids_that_a_spreadsheet_takes_for_formulas_come_back_as_they_were(form: Format) -> None:
    rows = [
        Row(0, "0", no, one, 0.5, -1.0, 1.0, 0.1, no, None, None, 0) for no, one in enumerate(IDS)
    ]
    assert tuple(_read(form, b"".join(written(form, [rows], "tag")))) == IDS
