"""The score of a pair as a pure function of its texts: whoever computes it, it is the same."""

from __future__ import annotations

import hashlib
import math

POISON = "poison"
"""A query that begins so kills the worker that scores it."""


def margin(query: str, document: str) -> float:
    """In [−4, 4), distinct for all practical purposes, exact in a double."""
    digest = hashlib.sha256(f"{query}\0{document}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**29 - 4


def score(value: float) -> float:
    """σ of the margin."""
    return 1 / (1 + math.exp(-value))
