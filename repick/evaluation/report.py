"""An evaluation as one page: tables, plots, and the queries that gained and lost most.

Texts and names are a stranger's: the template escapes them, and a picture is shown only after it
was decoded and drawn anew, small.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repick.errors import Unavailable
from repick.evaluation.dataset import Dataset, Record
from repick.evaluation.plots import figures
from repick.evaluation.results import Scored

EXAMPLES = 5
TOP = 3
_THUMBNAIL = 128
_LARGEST = 50_000_000


@dataclass(frozen=True, slots=True)
class Shown:
    """A document or query as the page shows it; `image` is a data URL."""

    id: str
    text: str
    image: str | None
    relevant: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """A query whose first relevant document moved; ranks are None where none was a candidate."""

    query: Shown
    before: int | None
    after: int | None
    coarse: Sequence[Shown]
    fine: Sequence[Shown]


def page(dataset: Dataset, k: int, found: Sequence[Scored], result: Mapping[str, Any]) -> str:
    """HTML that needs no other file and no script. Raises Unavailable without jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as exc:
        raise Unavailable("the report needs repick[eval]", code="no_jinja2") from exc
    environment = Environment(
        loader=PackageLoader("repick.evaluation", "."), autoescape=True, undefined=StrictUndefined
    )
    sections = [
        {
            "result": values,
            "plots": [base64.b64encode(svg).decode() for svg in figures(one, dataset, k)],
            "examples": dict(zip(("gains", "losses"), examples(dataset, one), strict=True)),
        }
        for one, values in zip(found, result["scorers"], strict=True)
    ]
    template = environment.get_template("report.html.jinja")
    return template.render(result=result, sections=sections)


def examples(dataset: Dataset, one: Scored) -> tuple[list[Example], list[Example]]:
    """The queries with the largest gains and losses of reciprocal rank."""
    before, after = one.coarse["MRR"], one.fine["MRR"]
    moved = sorted(before, key=lambda query: after[query] - before[query])
    losses = [query for query in moved[:EXAMPLES] if after[query] < before[query]]
    gains = [query for query in moved[::-1][:EXAMPLES] if after[query] > before[query]]
    coarse, fine = one.asked.coarse(), one.asked.fine()

    def example(query: str) -> Example:
        right = dataset.relevant(query)
        return Example(
            query=_shown(dataset.queries[query]),
            before=first_relevant(coarse[query], right),
            after=first_relevant(fine[query], right),
            coarse=list(_top(dataset, coarse[query], right)),
            fine=list(_top(dataset, fine[query], right)),
        )

    return [example(query) for query in gains], [example(query) for query in losses]


def first_relevant(order: Sequence[str], relevant: frozenset[str]) -> int | None:
    """The rank, from 1, of the first relevant document."""
    return next((rank for rank, one in enumerate(order, 1) if one in relevant), None)


def _top(dataset: Dataset, order: Sequence[str], relevant: frozenset[str]) -> Iterator[Shown]:
    for one in order[:TOP]:
        yield _shown(dataset.documents[one], relevant=one in relevant)


def _shown(record: Record, *, relevant: bool = False) -> Shown:
    return Shown(record.id, (record.text or "")[:300], _thumbnail(record), relevant)


def _thumbnail(record: Record) -> str | None:
    """A small PNG drawn anew; None for what is no picture or too large a one."""
    if record.image is None:
        return None
    from PIL import Image

    try:
        with Image.open(record.image) as opened:
            if opened.width * opened.height > _LARGEST:
                return None
            opened.thumbnail((_THUMBNAIL, _THUMBNAIL))
            small = io.BytesIO()
            opened.convert("RGB").save(small, "PNG")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return f"data:image/png;base64,{base64.b64encode(small.getvalue()).decode()}"
