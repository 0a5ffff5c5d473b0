"""From scored candidates to an ordered ranking: METHOD §2, "Ranking". Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repick.specs import Readout


@dataclass(frozen=True, slots=True)
class Order:
    """How a job orders and cuts its rankings; `blend` is METHOD §2's λ, 0 for the margin alone."""

    top_n: int
    blend: float = 0.0
    min_score: float | None = None


MAX_FAILED_SHARE = 0.5
"""A query of whose candidates more than this share has no score gets no ranking."""

LARGEST = 1e100
"""A caller's score may be any number: greater ones are made smaller before they are squared."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the coarse stage or the caller proposed for a query, and its pair's score or its error.

    Without a content it has an error: what the caller sent could not become one. `item_id` is the
    place in the caller's order where there is no item.
    """

    item_id: int
    external_id: str
    content_id: int | None
    coarse_rank: int
    coarse_score: float | None
    score: float | None = None
    margin: float | None = None
    label_mass: float | None = None
    entropy: float | None = None
    enhanced_at: Sequence[int | None] = ()
    cut_tokens: int = 0
    error_code: str | None = None
    retryable: bool = False

    @property
    def scored(self) -> bool:
        return self.score is not None

    @property
    def first_enhanced_at(self) -> int | None:
        """The first layer that fired, of the first pass in which one did."""
        return next((layer for layer in self.enhanced_at if layer is not None), None)


def ranked(candidates: Iterable[Candidate], readout: Readout, order: Order) -> list[Candidate]:
    """The scored candidates in their final order, at most `top_n`, without those under `min_score`.

    By (−margin, −coarse score, item id), or with a blend by (−blended, −coarse score, item id); the
    `paper` readout, which has no margin, by (−truncated score, entropy, coarse rank).
    Raises ValueError where a score or coarse score that the order needs is missing.
    """
    scored = [one for one in candidates if one.scored]
    if readout is Readout.PAPER:
        scored.sort(key=_paper_key)
    elif order.blend > 0:
        places = zip(_blended(scored, order.blend), scored, strict=True)
        scored = [one for _, one in sorted(places, key=_blended_key)]
    else:
        scored.sort(key=_margin_key)
    least = order.min_score
    kept = [one for one in scored if least is None or _known(one.score, one, "score") >= least]
    return kept[: order.top_n]


def _blended(scored: Sequence[Candidate], blend: float) -> list[float]:
    """λ·z(cosine) + (1−λ)·z(margin), each standardised over these candidates (METHOD §2)."""
    cosines = _standardised([_known(one.coarse_score, one, "coarse score") for one in scored])
    margins = _standardised([_known(one.margin, one, "margin") for one in scored])
    return [blend * c + (1 - blend) * m for c, m in zip(cosines, margins, strict=True)]


def _standardised(values: Sequence[float]) -> list[float]:
    """Zero mean, unit population deviation; all zero where the values do not differ."""
    if not values:
        return []
    if (largest := max(map(abs, values))) > LARGEST:
        values = [one / largest for one in values]
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in values) / len(values))
    # Equal values differ from their mean by rounding alone, and that must decide nothing.
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        return [0.0] * len(values)
    return [(one - mean) / deviation for one in values]


def _known(value: float | None, one: Candidate, what: str) -> float:
    if value is None:
        raise ValueError(f"item {one.external_id} was judged without a {what}")
    return value


def _blended_key(place: tuple[float, Candidate]) -> tuple[float, float, int]:
    blended, one = place
    return (-blended, *_margin_key(one)[1:])


def _margin_key(one: Candidate) -> tuple[float, float, int]:
    # Without a coarse score (the caller's documents may have none) a tie is lost to any that has.
    coarse = float("-inf") if one.coarse_score is None else one.coarse_score
    return (-_known(one.margin, one, "margin"), -coarse, one.item_id)


def _paper_key(one: Candidate) -> tuple[float, float, int]:
    score, entropy = _known(one.score, one, "score"), _known(one.entropy, one, "entropy")
    return (-score, entropy, one.coarse_rank)


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
