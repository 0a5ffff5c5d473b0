"""Comparisons of two runs as clients see them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from api.views import View
from repick.compare import Summary
from repick.store.comparing import Compared


class ChangeOut(View):
    """A document of both orders; ranks from 1."""

    id: str
    before: int
    after: int
    score_change: float
    content_changed: bool


class QueryDiffOut(View):
    """One query of the newer run. With `compared` false the older run has no ranking of it."""

    query_no: int
    query: str
    compared: bool
    entered: Annotated[
        dict[str, int], Field(description="Documents by their rank in the newer order.")
    ]
    left: Annotated[
        dict[str, int], Field(description="Documents by their rank in the older order.")
    ]
    changed: list[ChangeOut]
    kept: int
    kendall_tau: Annotated[
        float | None,
        Field(description="τ-b over both orders' documents; what one lacks stands below its last."),
    ]
    rank_biased_overlap: Annotated[float | None, Field(description="RBO_ext, p = 0.9.")]
    churn: Annotated[float | None, Field(description="Share of the newer order that entered.")]
    top1_changed: bool | None

    @classmethod
    def of(cls, one: Compared) -> QueryDiffOut:
        found = one.diff
        if found is None:
            nothing = dict.fromkeys(("kendall_tau", "rank_biased_overlap", "churn", "top1_changed"))
            facts = {"query_no": one.query_no, "query": one.query, "compared": False}
            lists = {"entered": {}, "left": {}, "changed": [], "kept": 0}
            return cls.model_validate(facts | lists | nothing)
        return cls(
            query_no=one.query_no,
            query=one.query,
            compared=True,
            entered=dict(found.entered),
            left=dict(found.left),
            changed=[ChangeOut.model_validate(change) for change in found.changed],
            kept=found.kept,
            kendall_tau=found.tau,
            rank_biased_overlap=found.rbo,
            churn=found.churn,
            top1_changed=found.top1_changed,
        )


class DiffOut(View):
    before: UUID
    after: UUID
    items: list[QueryDiffOut]
    next: str | None


class MoverOut(View):
    """A document over all queries; `places` is the sum of the places that it moved."""

    id: str
    places: int
    queries: int
    entered: int
    left: int


class SummaryOut(View):
    """All queries together. Means are over the queries that both runs ranked."""

    before: UUID
    after: UUID
    queries: int
    only_before: int
    only_after: int
    unchanged: int
    entered: int
    left: int
    moved: int
    churn: float | None
    top1_churn: float | None
    tau_mean: float | None
    tau_min: float | None
    rbo_mean: float | None
    rbo_min: float | None
    score_change_mean: float | None
    movers: list[MoverOut]
    least_alike: list[str]

    @classmethod
    def of(cls, before: UUID, after: UUID, one: Summary) -> SummaryOut:
        values: dict[str, Any] = asdict(one)
        return cls(before=before, after=after, **values)
