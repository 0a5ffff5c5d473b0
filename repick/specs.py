"""What makes a vector or a score: encoder and scorer specifications and their fingerprints.

Two specifications with one fingerprint give the same vectors (or scores); anything that changes
a vector or a score is a field here. Device and library versions are provenance, not identity.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

CODE_VERSION = 1
"""Raised by hand whenever prompts, readouts or enhancement change what is scored."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Readout(StrEnum):
    """How a score is read from the logits of the last position (METHOD §2)."""

    CHOICE = "choice"
    CHOICE_BALANCED = "choice_balanced"
    YES_NO = "yes_no"
    TRUE_FALSE = "true_false"
    RIGHT_WRONG = "right_wrong"
    RATING = "rating"
    PAPER = "paper"


class Positions(StrEnum):
    """Where visual enhancement injects: the answering position only, or every position."""

    LAST = "last"
    ALL = "all"


class LengthPolicy(StrEnum):
    """What becomes of a pair that does not fit the model's context."""

    REFUSE = "refuse"  # it is an item error
    TRUNCATE = "truncate"  # the end of the document's text is cut off, and that is recorded


@dataclass(frozen=True, slots=True)
class Enhancement:
    """Visual enhancement (METHOD §3): mix α of the visual tokens where entropy exceeds γ."""

    alpha: float = 0.12
    gamma: float = 0.75
    positions: Positions = Positions.LAST
    final_norm: bool = True


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What the scorer's image processor resizes to, in pixels of area."""

    min_pixels: int = 256 * 28 * 28
    max_pixels: int = 512 * 28 * 28


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """The fine model with everything that changes a score."""

    model: str
    family: str
    weights_sha256: str
    tokenizer_sha256: str
    readout: Readout = Readout.CHOICE
    enhancement: Enhancement | None = Enhancement()
    images: ImageLimits = ImageLimits()
    max_tokens: int = 8192
    length_policy: LengthPolicy = LengthPolicy.REFUSE
    dtype: str = "float32"
    quantisation: str | None = None
    """Always None, and kept: without it every fingerprint, and so every score at hand, would go."""
    prompt_sha256: str = ""
    untrained: bool = False
    code_version: int = CODE_VERSION

    @property
    def name(self) -> str:
        """`model:readout`, then `:plain` without enhancement, `:truncate` where that is done."""
        plain = "" if self.enhancement else ":plain"
        policy = "" if self.length_policy == LengthPolicy.REFUSE else f":{self.length_policy}"
        return f"{self.model}:{self.readout}{plain}{policy}"

    @property
    def queue(self) -> str:
        return f"fine.{self.model}"


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """The coarse model with everything that changes a vector."""

    name: str
    family: str
    weights_sha256: str
    tokenizer_sha256: str
    dimension: int
    query_image_weight: float = 0.8
    document_image_weight: float = 0.7
    dtype: str = "float32"
    untrained: bool = False
    code_version: int = CODE_VERSION

    @property
    def queue(self) -> str:
        return f"coarse.{self.name}"


def specification(spec: ScorerSpec | EncoderSpec) -> dict[str, Any]:
    """The full specification as JSON values, as it is stored beside the fingerprint."""
    value: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return value


def fingerprint(spec: ScorerSpec | EncoderSpec) -> str:
    """SHA-256 over the canonical JSON of the specification, in hexadecimal."""
    text = json.dumps(specification(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{type(spec).__name__}:{text}".encode()).hexdigest()
