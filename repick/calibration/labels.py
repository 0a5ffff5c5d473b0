"""Labelled pairs: what a scorer said of a query and a document, and whether they match."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repick.client import Job, Ranking
from repick.errors import InvalidField

Qrels = Mapping[str, Mapping[str, float]]
"""Gains by query id and document id; above zero is relevant, absent is not."""
FIELDS = frozenset({"margin", "relevant", "query", "coarse"})


@dataclass(frozen=True, slots=True)
class Label:
    """One judged pair; `coarse` is the coarse stage's score, where it is known."""

    query: str
    margin: float
    relevant: bool
    coarse: float | None = None


def read_labels(file: Path) -> list[Label]:
    """A label a line: `{"query", "margin", "relevant", "coarse"?}`; raises InvalidField."""
    with file.open(encoding="utf-8") as lines:
        return [
            _of_line(line, f"{file.name}:{no}")
            for no, line in enumerate(lines, start=1)
            if line.strip()
        ]


def read_qrels(file: Path) -> dict[str, dict[str, float]]:
    """BEIR's table: `query-id`, `corpus-id`, `score`, parted by tabs; raises InvalidField."""
    found: dict[str, dict[str, float]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        for no, row in enumerate(rows, start=1):
            if no == 1 and row[:1] == ["query-id"]:
                continue
            try:
                query, document, score = row
                found.setdefault(query, {})[document] = float(score)
            except ValueError as exc:
                detail = "a line is a query's id, a document's id and a number, parted by tabs"
                raise InvalidField(f"{file.name}:{no}", detail, code="invalid_line") from exc
    return found


def of_jobs(jobs: Iterable[Job], qrels: Qrels) -> list[Label]:
    """The hits of jobs as labels; queries without a qrel are left out.

    A query's id is its place in the list `query_ids` of the job's metadata, or else its number.
    Raises InvalidField where a hit has no margin (the readout `paper`), or a query is there twice.
    """
    found: list[Label] = []
    seen: set[str] = set()
    for job in jobs:
        for ranking in job.rankings:
            query = _query_id(job, ranking.query)
            if query in seen:
                raise InvalidField("job", f"query {query} is there twice", code="duplicate_query")
            seen.add(query)
            if query in qrels:
                found.extend(_of_ranking(ranking, query, qrels[query]))
    return found


def _query_id(job: Job, number: int) -> str:
    ids = job.metadata.get("query_ids")
    return str(ids[number]) if isinstance(ids, list) and number < len(ids) else str(number)


def _of_ranking(ranking: Ranking, query: str, relevant: Mapping[str, float]) -> Iterator[Label]:
    for hit in ranking.hits:
        if hit.margin is None:
            raise InvalidField("job", "the readout `paper` has no margin", code="no_margin")
        yield Label(query, hit.margin, relevant.get(hit.id, 0) > 0, hit.coarse_score)


def _of_line(line: str, where: str) -> Label:
    try:
        return _label(json.loads(line))
    except (ValueError, TypeError, KeyError) as exc:
        detail = 'a line is {"query": …, "margin": number, "relevant": true or false, "coarse"?}'
        raise InvalidField(where, detail, code="invalid_line") from exc


def _label(value: Any) -> Label:
    if not isinstance(value, dict) or set(value) - FIELDS:
        raise TypeError("a label is an object of these fields")
    query, relevant, coarse = value["query"], value["relevant"], value.get("coarse")
    if not isinstance(query, str | int) or isinstance(query, bool):
        raise TypeError("a query's id is a string or a whole number")
    if not isinstance(relevant, bool):
        raise TypeError("relevant is true or false")
    number = None if coarse is None else _finite(coarse)
    return Label(str(query), _finite(value["margin"]), relevant, number)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("a finite number is wanted here")
    return float(value)
