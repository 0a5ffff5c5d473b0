"""From the last hidden state to a pair's score: labels, logits, margins (METHOD §2, Readouts).

Everything is float32 on the device and double precision after it: bfloat16 logits step by 0.0625
and would reorder candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor

from repick.errors import ModelError
from repick.jobs import PairScore
from repick.specs import Readout
from repick.wording import WORDS as WORDS

MAX_MARGIN = 20.0
_CHUNK = 16_384
"""Rows of the vocabulary head turned to float32 at a time: a whole one would double its memory."""
_SUMS_IN_FLOAT32 = hasattr(torch.ops.aten.mm, "dtype")


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one forward pass, each with the token ids of its variants."""

    words: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]


def variants(word: str) -> tuple[str, ...]:
    """A word in its cases, a letter or digit as it is; each also after a space (METHOD §2)."""
    cases = (word, word.lower(), word.upper()) if len(word) > 1 else (word,)
    return tuple(dict.fromkeys(space + case for space in ("", " ") for case in cases))


def find_labels(readout: Readout, encode: Callable[[str], tuple[int, ...]]) -> tuple[Labels, ...]:
    """The label tokens of each pass of a readout.

    Raises ModelError where a label has no single-token variant, or two labels share a token.
    """
    try:
        return tuple(_labels(words, encode) for words in WORDS[readout])
    except ModelError as exc:
        raise ModelError(f"{exc.detail}: leave {readout} out of REPICK_READOUTS") from exc


def _labels(words: Sequence[str], encode: Callable[[str], tuple[int, ...]]) -> Labels:
    found = []
    for word in words:
        encoded = [encode(variant) for variant in variants(word)]
        ids = tuple(dict.fromkeys(ids[0] for ids in encoded if len(ids) == 1))
        if not ids:
            raise ModelError(f"the tokenizer has no single token for the label {word!r}")
        found.append(ids)
    if any(set(one) & set(other) for one, other in combinations(found, 2)):
        raise ModelError(f"the tokenizer gives one token to two of the labels {', '.join(words)}")
    return Labels(tuple(words), tuple(found))


def vocabulary_logits(hidden: Tensor, head: Tensor) -> Tensor:
    """Float32 logits (B, V) of hidden states (B, D) under the vocabulary head (V, D).

    Products of 16-bit values are exact in float32, so a device that sums them there gives the
    same logits without a float32 copy of the head.
    """
    if head.is_cuda and hidden.dtype == head.dtype != torch.float32 and _SUMS_IN_FLOAT32:
        return torch.mm(hidden, head.T, out_dtype=torch.float32)
    rows = hidden.float()
    return torch.cat([rows @ part.float().T for part in torch.split(head, _CHUNK)], dim=-1)


def read(logits: Tensor, labels: Labels) -> Tensor:
    """What is read of logits (B, V): each label's logit, label mass, entropy: (B, labels + 2).

    A label's logit is the log-sum-exp over its variants; mass and entropy (in nats) are under the
    full vocabulary.
    """
    each = torch.stack([logits[:, list(ids)].logsumexp(-1) for ids in labels.ids], dim=-1)
    mass = (each.logsumexp(-1) - logits.logsumexp(-1)).exp()
    entropy = torch.special.entr(logits.softmax(-1)).sum(-1)
    return torch.cat([each, mass[:, None], entropy[:, None]], dim=-1)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one forward pass says of one pair."""

    label_logits: tuple[float, ...]
    label_mass: float
    entropy: float
    enhanced_at: int | None

    @classmethod
    def of(cls, row: Sequence[float], layer: int) -> Reading:
        """From a row of `read` and the firing layer, -1 where enhancement did not fire.

        Raises ModelError where a value is not finite: such a pair has no score.
        """
        if not all(math.isfinite(value) for value in row):
            raise ModelError("the model's logits are not finite", code="not_finite")
        *logits, mass, entropy = row
        return cls(tuple(logits), min(mass, 1.0), entropy, None if layer < 0 else layer)


def judge(readout: Readout, readings: Sequence[Reading]) -> PairScore:
    """A pair's score from its passes: means of margin, label mass and entropy (METHOD §2)."""
    margin, score = _verdict(readout, readings)
    return PairScore(
        margin=margin,
        score=score,
        label_mass=fmean(reading.label_mass for reading in readings),
        entropy=fmean(reading.entropy for reading in readings),
        enhanced_at=tuple(reading.enhanced_at for reading in readings),
        label_logits=tuple(reading.label_logits for reading in readings),
    )


def _verdict(readout: Readout, readings: Sequence[Reading]) -> tuple[float | None, float]:
    if readout is Readout.PAPER:
        return None, _truncated(_true_probability(readings[0]))
    if readout is Readout.RATING:
        score = fmean(_expected_rating(reading.label_logits) for reading in readings)
        return _logit(score), score
    margin = fmean(reading.label_logits[0] - reading.label_logits[1] for reading in readings)
    return margin, _sigmoid(margin)


def _true_probability(reading: Reading) -> float:
    """Full-vocabulary probability of the first label: its share of the label mass."""
    return reading.label_mass * _sigmoid(reading.label_logits[0] - reading.label_logits[1])


def _truncated(probability: float) -> float:
    return math.floor(probability * 100) / 100


def _expected_rating(logits: Sequence[float]) -> float:
    """Expected digit scaled to 0..1 (arXiv 2310.14122)."""
    top = max(logits)
    weights = [math.exp(value - top) for value in logits]
    expected = sum(digit * weight for digit, weight in enumerate(weights)) / sum(weights)
    return expected / (len(logits) - 1)


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))


def _logit(share: float) -> float:
    """ln(share / (1 - share)), clipped at ±MAX_MARGIN."""
    if not 0 < share < 1:
        return math.copysign(MAX_MARGIN, share - 0.5)
    return max(-MAX_MARGIN, min(MAX_MARGIN, math.log(share) - math.log1p(-share)))
