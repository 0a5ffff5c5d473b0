"""From scored candidates to an ordered ranking: METHOD §2, "Ranking". Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repick.specs import Readout

MAX_FAILED_SHARE = 0.5
"""A query of whose candidates more than this share has no score gets no ranking."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the coarse stage proposed for a query, and its pair's score or its error."""

    item_id: int
    external_id: str
    content_id: int
    coarse_rank: int
    coarse_score: float | None
    score: float | None = None
    margin: float | None = None
    label_mass: float | None = None
    entropy: float | None = None
    enhanced_at: Sequence[int | None] = ()
    error_code: str | None = None
    retryable: bool = False

    @property
    def scored(self) -> bool:
        return self.score is not None

    @property
    def first_enhanced_at(self) -> int | None:
        """The first layer that fired, of the first pass in which one did."""
        return next((layer for layer in self.enhanced_at if layer is not None), None)


def ranked(candidates: Iterable[Candidate], readout: Readout, top_n: int) -> list[Candidate]:
    """The scored candidates in their final order, at most `top_n`.

    By (−margin, −coarse score, item id); the `paper` readout, which has no margin, by
    (−truncated score, entropy, coarse rank).
    """
    scored = [one for one in candidates if one.scored]
    key = _paper_key if readout is Readout.PAPER else _margin_key
    return sorted(scored, key=key)[:top_n]


def _margin_key(one: Candidate) -> tuple[float, float, int]:
    if one.margin is None:
        raise ValueError(f"item {one.external_id} has a score without a margin")
    return (-one.margin, -(one.coarse_score or 0.0), one.item_id)


def _paper_key(one: Candidate) -> tuple[float, float, int]:
    return (-(one.score or 0.0), one.entropy or 0.0, one.coarse_rank)


def failure(found: Sequence[Candidate], reason: str | None = None) -> dict[str, object] | None:
    """Why a query cannot be ranked, or None: pairs never judged, or too many that failed.

    `reason` is what ended the slices that would have judged them.
    """
    unjudged = sum(not one.scored and one.error_code is None for one in found)
    if unjudged:
        return {
            "code": "scoring_failed",
            "detail": "workers failed three times over some of its pairs",
            "pairs": unjudged,
            "reason": reason,
        }
    failed = sum(one.error_code is not None for one in found)
    if failed > MAX_FAILED_SHARE * len(found):
        return {
            "code": "too_many_item_errors",
            "detail": "most of its candidates cannot be scored",
            "items": [
                {"id": one.external_id, "code": one.error_code} for one in found if one.error_code
            ][:20],
        }
    return None
