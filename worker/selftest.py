"""Golden pairs that any usable scorer tells apart; scored before a worker serves (DESIGN, Fine)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import product
from statistics import fmean

from PIL import Image, ImageDraw

from repick.content import LoadedContent
from repick.errors import SelfTestFailed
from repick.jobs import PairScore
from repick.specs import ScorerSpec
from repick.wording import WORDS

MIN_LABEL_MASS = 0.1
SAME_MARGIN = 1e-5
"""Two images whose margins differ by less were not looked at: what is left is rounding."""

_TEXTS = ("a red circle", "a blue square")
_SIDE = 224


def golden_pairs() -> list[tuple[LoadedContent, LoadedContent]]:
    """Each text as a query against each picture as a document, the pictures innermost."""
    texts = [LoadedContent(no, text) for no, text in enumerate(_TEXTS)]
    pictures = [_picture(10, "red", round_shape=True), _picture(11, "blue", round_shape=False)]
    return list(product(texts, pictures))


def check_golden(spec: ScorerSpec, scores: Sequence[PairScore]) -> None:
    """Raise SelfTestFailed, with the figures, unless the scores of the golden pairs are usable."""
    decisions = [_decision(score) for score in scores]
    figures = ", ".join(f"{value:.6g}" for value in decisions)
    mass = fmean(score.label_mass for score in scores)
    if not all(map(math.isfinite, (*decisions, *(score.entropy for score in scores), mass))):
        raise failed(spec, f"scores are not finite (margins {figures})")
    if mass < MIN_LABEL_MASS:
        words = " or ".join(WORDS[spec.readout][0])
        figure = f"mean label mass {mass:.3g} is under {MIN_LABEL_MASS}"
        raise failed(spec, f"{figure}: the model does not answer with {words}")
    for circle, square in zip(decisions[::2], decisions[1::2], strict=True):
        if abs(circle - square) <= SAME_MARGIN:
            raise failed(spec, f"two different images get the same margin (margins {figures})")


def failed(spec: ScorerSpec, reason: str) -> SelfTestFailed:
    """The error that names the specification and says why."""
    return SelfTestFailed(f"{spec.name} failed its self-test: {reason}", scorer=spec.name)


def _decision(score: PairScore) -> float:
    """The margin, or where the readout has none the difference of its first two label logits."""
    if score.margin is not None:
        return score.margin
    return score.label_logits[0][0] - score.label_logits[0][1]


def _picture(content_id: int, colour: str, *, round_shape: bool) -> LoadedContent:
    image = Image.new("RGB", (_SIDE, _SIDE), "white")
    box = (_SIDE // 4, _SIDE // 4, 3 * _SIDE // 4, 3 * _SIDE // 4)
    draw = ImageDraw.Draw(image)
    (draw.ellipse if round_shape else draw.rectangle)(box, fill=colour)
    return LoadedContent(
        content_id, image=image, media_sha256=hashlib.sha256(image.tobytes()).digest()
    )
