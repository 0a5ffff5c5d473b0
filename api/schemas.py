"""Request bodies: exact types, no unknown fields. What needs the settings is checked later."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from repick.specs import NAME

NAME_PATTERN = f"^{NAME.pattern}$"
SCORER_PATTERN = rf"^{NAME.pattern}(:[a-z_]{{1,32}}(:plain)?(:truncate)?)?$"
MAX_ITEMS = 1000
MAX_ID_CHARS = 512
MAX_TIME_LIMIT_S = 7 * 24 * 3600

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Metadata = Annotated[
    dict[str, Any], Field(description="Any JSON object of up to 64 KiB; given back as it is.")
]
ImageText = Annotated[
    str,
    Field(
        description="Base64, or a data URL; a still JPEG, PNG, WebP or GIF. Where the operator"
        " allows the host, also an address by https: it is fetched now, and never again."
    ),
]

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEUlEQVR4nGP4z8AARwzE"
    "cQCukw/x0F8jngAAAABJRU5ErkJggg=="
)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CorpusRequest(Strict):
    name: Name
    encoder: Annotated[
        Name | None, Field(description="A registered encoder; the last served unless given.")
    ] = None


class ItemRequest(Strict):
    id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_ID_CHARS,
            description="The caller's own id; slashes may part it, as in a file's path.",
        ),
    ]
    text: str | None = None
    image: ImageText | None = None
    image_part: Annotated[
        str | None, Field(description="Multipart only: the name of the part with the image.")
    ] = None
    metadata: Metadata = {}


class ItemsRequest(Strict):
    items: Annotated[list[ItemRequest], Field(min_length=1, max_length=MAX_ITEMS)]


class QueryRequest(Strict):
    """A text, an image, or both."""

    text: str | None = None
    image: ImageText | None = None


class DocumentRequest(Strict):
    """A candidate that the caller brings: a text, an image, or both, under its own id."""

    id: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
    text: str | None = None
    image: ImageText | None = None
    score: Annotated[
        float | None, Field(description="The caller's own; kept as the coarse score.")
    ] = None


class JobRequest(Strict):
    """One query or several, over one corpus or over documents sent along."""

    corpus: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    documents: Annotated[
        list[DocumentRequest] | None,
        Field(
            min_length=1,
            description="Instead of a corpus: the candidates of every query, the first ones first.",
        ),
    ] = None
    query: QueryRequest | None = None
    queries: Annotated[list[QueryRequest] | None, Field(min_length=1)] = None
    filter: Annotated[
        dict[str, Any] | None,
        Field(
            description="Only items whose metadata match: `{field, eq | in | range | prefix |"
            " exists}`, `{and | or: [filter, …]}`, `{not: filter}`.",
            examples=[{"field": "lang", "eq": "en"}],
        ),
    ] = None
    k: Annotated[
        int | None,
        Field(
            ge=1,
            description="How many candidates the coarse stage proposes; 20 unless given. Not with"
            " `documents`: all of them are candidates.",
        ),
    ] = None
    top_n: Annotated[
        int | None, Field(ge=1, description="How many hits a ranking keeps; k unless given.")
    ] = None
    scorer: Annotated[
        str | None,
        Field(
            pattern=SCORER_PATTERN,
            description="A registered scorer, as `model:readout`; a model alone for its `choice`.",
        ),
    ] = None
    instruction: Annotated[
        str | None, Field(description="Stands before every query; part of what is scored.")
    ] = None
    blend: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Orders by λ·z(coarse score) + (1−λ)·z(margin), each standardised over a"
            " query's candidates; 0 is the margin alone.",
        ),
    ] = 0.0
    min_score: Annotated[
        float | None, Field(ge=0, le=1, description="Hits with a lower score are left out.")
    ] = None
    length_policy: Annotated[
        Literal["refuse", "truncate"] | None,
        Field(
            description="A pair that is too long is an item error, or its document's text is cut"
            " and its hit says by how many tokens. As the scorer's name says unless given."
        ),
    ] = None
    time_limit_s: Annotated[
        int | None,
        Field(ge=1, le=MAX_TIME_LIMIT_S, description="After it the job ends with what it has."),
    ] = None
    kind: Annotated[
        Literal["interactive", "batch"] | None,
        Field(description="Which queue; interactive up to 16 queries unless given."),
    ] = None
    metadata: Metadata = {}


class CalibrationRequest(Strict):
    """A monotone map from a scorer's margin to a probability of relevance."""

    map: Annotated[
        dict[str, Any],
        Field(
            description='`{"method": "isotonic", "x": […], "y": […]}` with up to 1,000 knots, or'
            ' `{"method": "platt", "slope", "intercept"}`.'
        ),
    ]
    figures: Annotated[
        dict[str, Any],
        Field(description="How it was measured: any JSON object of up to 64 KiB, given back."),
    ] = {}


_SEGMENT = re.compile(r"[^\x00-\x1f\x7f-\x9f]+")


def printable(name: str) -> bool:
    """Whether an id has no control characters."""
    return _SEGMENT.fullmatch(name) is not None


def addressable(item_id: str) -> bool:
    """Whether an item can be reached at its address: clients shorten `.`, `..` and `//` in paths.

    An id ending in `/image` would be taken for another item's image.
    """
    parts = item_id.split("/")
    plain = all(_SEGMENT.fullmatch(part) and part not in {".", ".."} for part in parts)
    return plain and not (len(parts) > 1 and parts[-1] == "image")


CORPUS_EXAMPLE = {"name": "photos"}
ITEMS_EXAMPLE = {
    "items": [
        {"id": "caption-1", "text": "A red cup on a table", "metadata": {"lang": "en"}},
        {"id": "photos/1.png", "image": PIXEL},
        {"id": "both", "text": "A red square", "image": PIXEL},
    ]
}
CALIBRATION_EXAMPLE = {
    "map": {"method": "isotonic", "x": [-4.0, 0.5, 3.0], "y": [0.01, 0.4, 0.97]},
    "figures": {"ece": 0.02},
}
JOB_EXAMPLES = {
    "text to image": {
        "value": {"corpus": "photos", "query": {"text": "a red cup"}, "k": 20, "top_n": 10}
    },
    "image and text": {
        "value": {
            "corpus": "photos",
            "query": {"image": PIXEL, "text": "the same, but blue"},
            "instruction": "Find the picture that the change of the query leads to.",
        }
    },
    "documents sent along": {
        "value": {
            "query": {"text": "a red cup"},
            "documents": [
                {"id": "caption", "text": "A red cup on a table", "score": 0.31},
                {"id": "photo", "image": PIXEL},
            ],
            "top_n": 1,
        }
    },
    "several queries": {
        "value": {
            "corpus": "photos",
            "queries": [{"text": "a cat"}, {"text": "a dog"}],
            "scorer": "qwen2.5-vl-7b:choice",
            "kind": "batch",
            "metadata": {"run": "2026-11-23"},
        }
    },
}
