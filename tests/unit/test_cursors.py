"""Cursors: what a list gave is read back, and nothing else is, whatever is sent."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.pages import Cursors
from api.problems import HttpError

CURSORS = Cursors("a secret of the tests")
PURPOSES = st.text(st.characters(codec="utf-8"), max_size=40)
POSITIONS = st.one_of(st.integers(), st.text(st.characters(codec="utf-8"), max_size=300))


def refused(cursors: Cursors, purpose: str, cursor: str) -> None:
    with pytest.raises(HttpError) as caught:
        cursors.read(purpose, cursor)
    assert (caught.value.status, caught.value.code) == (400, "bad_cursor")


@settings(deadline=None)
@given(PURPOSES, POSITIONS)
def test_position_comes_back_from_a_cursor_that_fits_an_address(
    purpose: str, position: str | int
) -> None:
    cursor = CURSORS.write(purpose, position)
    assert CURSORS.read(purpose, cursor) == str(position)
    assert cursor.isascii()
    assert not set(cursor) - set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    )


@settings(deadline=None)
@given(PURPOSES, st.text(max_size=300))
def test_made_up_text_is_a_bad_cursor(purpose: str, cursor: str) -> None:
    refused(CURSORS, purpose, cursor)


@settings(deadline=None)
@given(POSITIONS, st.data())
def test_a_changed_cursor_is_a_bad_cursor(position: str | int, data: st.DataObject) -> None:
    cursor = CURSORS.write("jobs 1", position)
    at = data.draw(st.integers(0, len(cursor) - 2))  # a last character may hold unused bits
    other = data.draw(st.sampled_from("abcXYZ019-_.").filter(lambda one: one != cursor[at]))
    refused(CURSORS, "jobs 1", cursor[:at] + other + cursor[at + 1 :])


@settings(deadline=None)
@given(POSITIONS, PURPOSES, PURPOSES)
def test_a_cursor_serves_its_own_list_and_secret_alone(
    position: str | int, purpose: str, other: str
) -> None:
    cursor = CURSORS.write(purpose, position)
    if other != purpose:
        refused(CURSORS, other, cursor)
    refused(Cursors("another secret"), purpose, cursor)
