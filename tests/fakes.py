"""Fakes at the seams: models whose answers are pure functions of content, and a queue in memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repick.content import LoadedContent
from repick.errors import ContentError, ModelError
from repick.jobs import PairScore
from repick.specs import EncoderSpec, LengthPolicy, Readout, ScorerSpec

DIMENSION = 8
ENCODER = EncoderSpec("fake-encoder", "fake", "w", "t", DIMENSION)
SCORER = ScorerSpec("fake-scorer", "fake", "w", "t")


@dataclass
class FakeEncoder:
    """Unit vectors from the hash of what a content shows; a text `no direction` has none."""

    spec: EncoderSpec = ENCODER
    encoded: list[int] = field(default_factory=list)

    def prepare(
        self, contents: Sequence[LoadedContent], role: object
    ) -> Callable[[], NDArray[np.float32]]:
        return partial(self.encode, contents, role)

    def encode(self, contents: Sequence[LoadedContent], role: object) -> NDArray[np.float32]:
        if any(one.text == "no direction" for one in contents):
            raise ModelError("a vector is not finite", code="not_finite")
        self.encoded += [one.content_id for one in contents]
        return np.stack([self._vector(one) for one in contents])

    def _vector(self, one: LoadedContent) -> NDArray[np.float32]:
        seed = int.from_bytes(_digest(one)[:8], "big")
        vector = np.random.default_rng(seed).normal(size=DIMENSION)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


FAKE_TOKENS = 10


@dataclass(frozen=True)
class FakePair:
    query: LoadedContent
    document: LoadedContent
    spec: ScorerSpec
    length: int = FAKE_TOKENS


@dataclass
class FakeFineModel:
    """Margins from the hash of the pair.

    Documents with `unreadable` cannot be prepared; `not finite` and `breaks` spoil their batch. Of
    `endless` ones, which are too long, a specification that truncates cuts off seven tokens.
    """

    specs: tuple[ScorerSpec, ...] = (SCORER,)
    scored: list[tuple[int, int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    provenance: Mapping[str, str] = field(default_factory=lambda: {"device": "fake"})

    def prepare(self, query: LoadedContent, document: LoadedContent, spec: ScorerSpec) -> Any:
        if "unreadable" in (document.text or ""):
            raise ContentError("too_long", "the pair does not fit")
        if "endless" in (document.text or "") and spec.length_policy is LengthPolicy.REFUSE:
            raise ContentError("too_long", "the pair does not fit")
        return FakePair(query, document, spec)

    def score(self, pairs: Sequence[FakePair]) -> list[PairScore]:
        texts = " ".join(pair.document.text or "" for pair in pairs)
        if "not finite" in texts:
            raise ModelError("logits are not finite", code="not_finite")
        if "breaks" in texts:
            raise RuntimeError("out of luck")
        self.sizes.append(len(pairs))
        self.scored += [(pair.query.content_id, pair.document.content_id) for pair in pairs]
        return [
            replace(
                pair_score(pair.query, pair.document, pair.spec.readout),
                cut_tokens=7 if "endless" in (pair.document.text or "") else 0,
            )
            for pair in pairs
        ]


def pair_score(
    query: LoadedContent, document: LoadedContent, readout: Readout = Readout.CHOICE
) -> PairScore:
    """The fake scorer's function of a pair."""
    number = int.from_bytes(hashlib.sha256(_digest(query) + _digest(document)).digest()[:6], "big")
    margin = (number / 2**48 - 0.5) * 8
    score = 1 / (1 + math.exp(-margin))
    fired = 3 if number % 2 else None
    passes: tuple[int | None, ...] = (fired,)
    return PairScore(margin, score, 0.9, 0.5, passes, ((margin, 0.0),))


def _digest(one: LoadedContent) -> bytes:
    parts = [one.text or "", (one.media_sha256 or b"").hex(), one.instruction or ""]
    return hashlib.sha256("|".join(parts).encode()).digest()
