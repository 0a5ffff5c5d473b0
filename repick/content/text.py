"""A text from outside is checked and kept as it is: its identity is the hash of its characters."""

from __future__ import annotations

import unicodedata

from repick.errors import InvalidField

_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})


def clean_text(text: str, field: str, max_chars: int) -> str:
    """The text itself, unchanged.

    Raises InvalidField with `too_long` (over `max_chars` code points), `invalid_text` (NUL, which
    Postgres cannot hold, or a lone surrogate, which UTF-8 cannot) or `blank` (nothing visible).
    """
    if len(text) > max_chars:
        raise InvalidField(field, f"the text is over {max_chars} characters", code="too_long")
    if "\0" in text:
        raise InvalidField(field, "the text holds a NUL character", code="invalid_text")
    if not _encodable(text):
        raise InvalidField(field, "the text holds a lone surrogate", code="invalid_text")
    if all(unicodedata.category(character) in _INVISIBLE for character in text):
        raise InvalidField(field, "the text is blank", code="blank")
    return text


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
