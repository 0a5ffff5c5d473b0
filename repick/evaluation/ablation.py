"""What another k or another blend would have given: exact, since a score is of its pair alone."""

from __future__ import annotations

from collections.abc import Sequence

from repick.client import Hit
from repick.evaluation.asking import Asked
from repick.evaluation.measures import Qrels, means, per_query
from repick.ranking import Candidate, Order, ranked
from repick.specs import Readout

DEPTHS = (5, 10, 20, 50)
BLENDS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)


def rows(asked: Asked, qrels: Qrels, k: int) -> dict[str, dict[str, float]]:
    """Measures by variant: coarse only, every depth up to `k`, every blend at `k`.

    Without blends where the readout has no margin to blend (`paper`).
    """
    found = {"coarse only": means(per_query(qrels, asked.coarse()))}
    for depth in (one for one in DEPTHS if one <= k):
        found[f"k {depth}"] = _measured(asked, qrels, depth, 0.0)
    for blend in () if readout_of(asked.scorer) is Readout.PAPER else BLENDS:
        found[f"blend {blend:g}"] = _measured(asked, qrels, k, blend)
    return found


def reordered(hits: Sequence[Hit], readout: Readout, depth: int, blend: float) -> list[str]:
    """Ids of the first `depth` coarse candidates, in the order that the service would give."""
    candidates = [
        Candidate(
            item_id=hit.coarse_rank,
            external_id=hit.id,
            content_id=None,
            coarse_rank=hit.coarse_rank,
            coarse_score=hit.coarse_score,
            score=hit.score,
            margin=hit.margin,
            entropy=hit.entropy,
        )
        for hit in hits
        if hit.coarse_rank <= depth
    ]
    return [one.external_id for one in ranked(candidates, readout, Order(depth, blend))]


def _measured(asked: Asked, qrels: Qrels, depth: int, blend: float) -> dict[str, float]:
    readout = readout_of(asked.scorer)
    orders = {query: reordered(hits, readout, depth, blend) for query, hits in asked.hits.items()}
    return means(per_query(qrels, orders))


def readout_of(scorer: str) -> Readout:
    """Of a scorer's name, `model:readout` or `model:readout:plain`."""
    names = set(Readout)
    return next(Readout(part) for part in reversed(scorer.split(":")) if part in names)
