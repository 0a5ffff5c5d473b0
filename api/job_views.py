"""Answers about jobs and their rankings, and how they are made of what the store gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from api.views import ModelName, View
from repick.calibration import Map
from repick.jobs import JobKind, JobState
from repick.specs import LengthPolicy
from repick.store.jobs import JobView
from repick.store.rankings import Hit, QueryError, Ranking


class Progress(View):
    """`pairs_reused` were in the ledger already; `pairs_done` counts them too."""

    pairs_total: int
    pairs_done: int
    pairs_reused: int
    pairs_failed: int


class HitOut(View):
    """`margin` is null only for the readout `paper`; `enhanced_at` is a decoder layer or null.

    `probability` of relevance, by the calibration that the tenant has put for exactly this scorer;
    null where there is none.

    `cut_tokens`: so many tokens of the document's text were left out to make the pair fit.
    """

    rank: int
    id: str
    score: float
    margin: float | None
    probability: float | None
    label_mass: float
    entropy: float
    enhanced_at: int | None
    coarse_rank: int
    coarse_score: float | None
    cut_tokens: int


class RankingOut(View):
    """One query's hits; `errors` are the candidates that could not be scored, with their codes.

    `search` says how the candidates were found: `exact`, or through the `index`. `matching` counts
    the items that the job's filter leaves: all of them where the search was exact, else a bound
    that they exceed.
    """

    query: int
    asked: int
    found: int
    search: str | None
    matching: int | None
    blend: float
    min_score: float | None
    untrained: bool
    created_at: datetime
    hits: list[HitOut]
    errors: list[dict[str, Any]]

    @classmethod
    def of(cls, one: Ranking, calibration: Map | None, **more: Any) -> Self:
        """Made at once with its hits: a model made by itself for each takes twice as long."""
        return cls.model_validate(
            {
                "query": one.query_no,
                "asked": one.asked,
                "found": one.found,
                "search": one.search,
                "matching": one.matching,
                "blend": one.blend,
                "min_score": one.min_score,
                "untrained": one.untrained,
                "created_at": one.created_at,
                "hits": [hit_facts(hit, calibration) for hit in one.hits],
                "errors": one.errors,
                **more,
            }
        )


def hit_facts(hit: Hit, calibration: Map | None) -> dict[str, Any]:
    margin, probability = hit.margin, None
    if calibration is not None and margin is not None:
        probability = calibration.probability(margin)
    return {
        "rank": hit.rank,
        "id": hit.external_id,
        "score": hit.score,
        "margin": margin,
        "probability": probability,
        "label_mass": hit.label_mass,
        "entropy": hit.entropy,
        "enhanced_at": hit.enhanced_at,
        "coarse_rank": hit.coarse_rank,
        "coarse_score": hit.coarse_score,
        "cut_tokens": hit.cut_tokens,
    }


class RankingsOut(View):
    items: list[RankingOut]
    next: str | None


class QueryErrorOut(View):
    query: int
    error: dict[str, Any]


class JobSummary(View):
    """`untrained`: a model of this job is marked as untrained, so its scores mean nothing."""

    id: UUID
    state: JobState
    final: bool
    kind: JobKind
    corpus: str | None
    encoder: ModelName | None
    scorer: ModelName
    untrained: bool
    k: int
    top_n: int
    queries: int
    filter: dict[str, Any] | None
    blend: float
    min_score: float | None
    length_policy: LengthPolicy
    deadline: datetime | None
    progress: Progress
    metadata: dict[str, Any]
    warnings: list[dict[str, Any]]
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    href: str


class JobOut(JobSummary):
    """With the first rankings; `next` leads to the others."""

    rankings: list[RankingOut]
    query_errors: list[QueryErrorOut]
    next: str | None


class JobsOut(View):
    items: list[JobSummary]
    next: str | None


def job_path(job_id: UUID) -> str:
    return f"/v1/jobs/{job_id}"


def summary(one: JobView) -> JobSummary:
    return JobSummary(**_facts(one))


def job_out(
    one: JobView,
    rankings: Sequence[RankingOut],
    errors: Sequence[QueryError],
    next_page: str | None,
) -> JobOut:
    return JobOut(
        **_facts(one),
        rankings=list(rankings),
        query_errors=[
            QueryErrorOut(query=error.query_no, error=dict(error.error)) for error in errors
        ],
        next=next_page,
    )


def _facts(one: JobView) -> Mapping[str, Any]:
    encoder = _model(one.encoder, one.encoder_fingerprint)
    return {
        "id": one.id,
        "state": one.state,
        "final": one.state.final,
        "kind": one.kind,
        "corpus": one.corpus_name,
        "encoder": encoder,
        "scorer": _model(one.scorer, one.scorer_fingerprint),
        "untrained": one.untrained,
        "k": one.k,
        "top_n": one.top_n,
        "queries": one.query_count,
        "filter": dict(one.filter) if one.filter is not None else None,
        "blend": one.blend,
        "min_score": one.min_score,
        "length_policy": one.length_policy,
        "deadline": one.deadline,
        "progress": Progress.model_validate(one),
        "metadata": dict(one.metadata),
        "warnings": [dict(warning) for warning in one.warnings],
        "error": dict(one.error) if one.error else None,
        "created_at": one.created_at,
        "started_at": one.started_at,
        "finished_at": one.finished_at,
        "href": job_path(one.id),
    }


def _model(name: str | None, fingerprint: str | None) -> ModelName | None:
    if name is None or fingerprint is None:
        return None
    return ModelName(name=name, fingerprint=fingerprint)
