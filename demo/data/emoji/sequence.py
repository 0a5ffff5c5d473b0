"""What an emoji's code points say (UTS #51): whom it shows, and with which traits.

A code is the code points in lower-case hexadecimal, joined by "-", without variation selectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

JOINER = "200d"
SELECTOR = "fe0f"
TONES: Mapping[str, str] = {
    "1f3fb": "light",
    "1f3fc": "medium-light",
    "1f3fd": "medium",
    "1f3fe": "medium-dark",
    "1f3ff": "dark",
}
HAIR: Mapping[str, str] = {"1f9b0": "red", "1f9b1": "curly", "1f9b2": "bald", "1f9b3": "white"}
GENDERS: Mapping[str, str] = {"1f468": "man", "1f469": "woman", "2642": "man", "2640": "woman"}
RIGHT = "27a1"
PERSON = "1f9d1"
_HEADS = ("1f468", "1f469", PERSON)
_PAIRS = ("1f46f", "1f93c")
"""People with bunny ears, people wrestling: two people in one code point."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What can differ within a family; None where the sequence does not say it."""

    tone: str | None = None
    gender: str | None = None
    hair: str | None = None
    direction: str | None = None

    def differences(self, other: Traits) -> tuple[str, ...]:
        """Names of the traits in which two differ."""
        names = (field.name for field in fields(self))
        return tuple(name for name in names if getattr(self, name) != getattr(other, name))


def code_of(unified: str) -> str:
    """The code of a sequence as packages write it, in either case, with selectors or without."""
    points = unified.lower().split("-")
    return "-".join(point for point in points if point != SELECTOR)


def traits_of(code: str) -> Traits:
    """The traits that the sequence of one person says; none for several people or for things."""
    parts = _parts(code)
    if _several(parts):
        return Traits()
    points = [point for part in parts for point in part]
    direction = "right" if parts[-1] == [RIGHT] and len(parts) > 1 else None
    return Traits(_first(TONES, points), _gender(parts), _first(HAIR, points), direction)


def family_of(code: str) -> str:
    """The code without its traits: shared by all that differ in nothing else.

    Whole families are held out, so that a "woman running" in training gives no "man running" away.
    """
    parts = _parts(code)
    if _several(parts):
        return "-".join(point for point in code.split("-") if point not in TONES)
    kept = []
    for no, part in enumerate(parts):
        bare = [PERSON if point in _HEADS else point for point in part if point not in TONES]
        if no == 0 or bare[0] not in (*HAIR, RIGHT, "2640", "2642"):
            kept.append("-".join(bare))
    return f"-{JOINER}-".join(kept)


def _parts(code: str) -> list[list[str]]:
    """The code points between joiners."""
    return [part.split("-") for part in code.split(f"-{JOINER}-")]


def _several(parts: list[list[str]]) -> bool:
    """Whether a sequence shows several people, whose traits no one word could change."""
    people = sum(part[0] in _HEADS or part[0] in ("1f466", "1f467", "1f9d2") for part in parts)
    return people > 1 or parts[0][0] in _PAIRS


def _gender(parts: list[list[str]]) -> str | None:
    heads = [parts[0][0], *(part[0] for part in parts[1:] if part[0] in ("2640", "2642"))]
    return _first(GENDERS, heads)


def _first(names: Mapping[str, str], points: list[str]) -> str | None:
    return next((names[point] for point in points if point in names), None)
