"""What the client takes and gives: frozen, typed, made from the API's JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from repick.jobs import JobState

Image = bytes | Path
"""The image file's bytes, or where it lies: it is read when it is sent."""


@dataclass(frozen=True, slots=True)
class Query:
    """A text, an image, or both."""

    text: str | None = None
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A document under the caller's own id: a text, an image, or both."""

    id: str
    text: str | None = None
    image: Image | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """A candidate that a job brings along; `score` is the caller's own, kept as coarse score."""

    id: str
    text: str | None = None
    image: Image | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that was not stored, or has no vector."""

    id: str
    code: str
    detail: str = ""
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class PutResult:
    stored: int
    unchanged: int
    failed: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """An encoder or a scorer: its name and what identifies exactly what it computes."""

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """A monotone map from a scorer's margin to a probability, and how it was measured."""

    scorer: Model
    map: Mapping[str, Any]
    figures: Mapping[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Calibration:
        return cls(
            scorer=Model(**value["scorer"]),
            map=value["map"],
            figures=value["figures"],
            created_at=datetime.fromisoformat(value["created_at"]),
        )


@dataclass(frozen=True, slots=True)
class Corpus:
    """`failed` counts the items without a vector by reason; `failures` names the first of them."""

    name: str
    encoder: Model
    untrained: bool
    dimension: int
    indexed: bool
    items: int
    embedded: int
    pending: int
    failed: Mapping[str, int]
    failures: tuple[Failure, ...]
    created_at: datetime

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Corpus:
        return cls(
            name=value["name"],
            encoder=Model(**value["encoder"]),
            untrained=value["untrained"],
            dimension=value["dimension"],
            indexed=value["indexed"],
            items=value["items"],
            embedded=value["embedded"],
            pending=value["pending"],
            failed=value["failed"],
            failures=tuple(Failure(one["id"], one["code"]) for one in value["failures"]),
            created_at=datetime.fromisoformat(value["created_at"]),
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """One place of a ranking; `enhanced_at` is the decoder layer that fired, or None.

    `cut_tokens`: so many tokens of the document's text were left out to make the pair fit.
    `probability` of relevance, where the scorer has a calibration.
    """

    rank: int
    id: str
    score: float
    margin: float | None
    label_mass: float
    entropy: float
    enhanced_at: int | None
    coarse_rank: int
    coarse_score: float | None
    cut_tokens: int = 0
    probability: float | None = None

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Hit:
        """What this client knows of a hit; a newer API may say more."""
        return cls(**{name: one for name, one in value.items() if name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Ranking:
    """One query's hits; `errors` are candidates that could not be scored.

    `search` is `exact` or `index`; `matching` counts the items that the filter leaves.
    """

    query: int
    asked: int
    found: int
    untrained: bool
    search: str | None
    matching: int | None
    hits: tuple[Hit, ...]
    errors: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Ranking:
        return cls(
            query=value["query"],
            asked=value["asked"],
            found=value["found"],
            untrained=value["untrained"],
            search=value.get("search"),
            matching=value.get("matching"),
            hits=tuple(Hit.of(hit) for hit in value["hits"]),
            errors=tuple(value["errors"]),
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """Pairs of the job; `reused` ones were in the ledger already, and count as done."""

    total: int
    done: int
    reused: int
    failed: int

    @classmethod
    def of(cls, value: Mapping[str, int]) -> Progress:
        names = ("pairs_total", "pairs_done", "pairs_reused", "pairs_failed")
        return cls(*(value[name] for name in names))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    id: str
    state: JobState
    corpus: str | None
    encoder: Model | None
    scorer: Model
    untrained: bool
    k: int
    top_n: int
    queries: int
    filter: Mapping[str, Any] | None
    blend: float
    min_score: float | None
    length_policy: str
    deadline: datetime | None
    progress: Progress
    metadata: Mapping[str, Any]
    warnings: tuple[Mapping[str, Any], ...]
    error: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> JobSummary:
        return cls(**_facts(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(JobSummary):
    """A job with the rankings that it has so far; `query_errors` by query number."""

    rankings: tuple[Ranking, ...]
    query_errors: Mapping[int, Mapping[str, Any]]

    @classmethod
    def of(cls, value: Mapping[str, Any], more: Sequence[Ranking] = ()) -> Job:
        return cls(
            **_facts(value),
            rankings=(*(Ranking.of(one) for one in value["rankings"]), *more),
            query_errors={one["query"]: one["error"] for one in value["query_errors"]},
        )


def _facts(value: Mapping[str, Any]) -> dict[str, Any]:
    same = ("id", "corpus", "untrained", "k", "top_n", "queries", "metadata", "error")
    # An older API does not say these.
    later = {"filter": None, "blend": 0.0, "min_score": None, "length_policy": "refuse"}
    moments = ("created_at", "started_at", "finished_at", "deadline")
    times = {name: _time(value.get(name)) for name in moments}
    return (
        {name: value[name] for name in same}
        | {name: value.get(name, absent) for name, absent in later.items()}
        | times
        | {
            "state": JobState(value["state"]),
            "encoder": Model(**value["encoder"]) if value["encoder"] else None,
            "scorer": Model(**value["scorer"]),
            "progress": Progress.of(value["progress"]),
            "warnings": tuple(value["warnings"]),
        }
    )


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def encoded(image: Image) -> str:
    """Base64 of the image's bytes. Raises OSError where the file cannot be read."""
    data = image.read_bytes() if isinstance(image, Path) else image
    return base64.b64encode(data).decode("ascii")


def query_body(query: Query) -> dict[str, Any]:
    return _parts(query.text, query.image)


def item_body(item: Item) -> dict[str, Any]:
    metadata = {"metadata": dict(item.metadata)} if item.metadata else {}
    return {"id": item.id} | _parts(item.text, item.image) | metadata


def document_body(document: Document) -> dict[str, Any]:
    score = {"score": document.score} if document.score is not None else {}
    return {"id": document.id} | _parts(document.text, document.image) | score


def _parts(text: str | None, image: Image | None) -> dict[str, Any]:
    parts = {"text": text, "image": encoded(image) if image is not None else None}
    return {name: value for name, value in parts.items() if value is not None}
