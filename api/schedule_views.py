"""Standing queries, schedules and runs as their owner reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from api.job_views import RankingOut, job_path
from api.views import View
from repick.content import Content
from repick.schedules import MissedPolicy, RunState, Trigger, WindowPolicy
from repick.store.runs import Run
from repick.store.schedules import Schedule
from repick.store.standing import StandingQuery


class StandingQueryName(View):
    id: str
    tags: list[str]
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def named(cls, one: StandingQuery) -> StandingQueryName:
        return cls(
            id=one.external_id,
            tags=list(one.tags),
            metadata=dict(one.metadata),
            created_at=one.created_at,
            updated_at=one.updated_at,
        )


class StandingQueryOut(StandingQueryName):
    """`image` is the SHA-256 of the query's image."""

    text: str | None
    instruction: str | None
    image: str | None

    @classmethod
    def of(cls, one: StandingQuery, content: Content) -> StandingQueryOut:
        return cls(
            **StandingQueryName.named(one).model_dump(),
            text=content.text,
            instruction=content.instruction,
            image=content.media.sha256.hex() if content.media else None,
        )


class StandingQueriesOut(View):
    items: list[StandingQueryName]
    next: str | None


class ScheduleOut(View):
    """`next_at` is the next tick, null while paused; `latest` the run that the address shows."""

    name: str
    corpus: str
    cron: str
    time_zone: str
    missed: MissedPolicy
    until: str | None
    after_until: WindowPolicy
    tags: list[str] | None
    scorer: str | None
    k: int
    top_n: int
    filter: dict[str, Any] | None
    blend: float
    min_score: float | None
    alarms: dict[str, Any]
    metadata: dict[str, Any]
    paused: bool
    next_at: datetime | None
    latest: UUID | None
    latest_tick: datetime | None
    created_at: datetime
    updated_at: datetime
    href: str

    @classmethod
    def of(cls, one: Schedule) -> ScheduleOut:
        same = {name: getattr(one, name) for name in cls.model_fields if hasattr(one, name)}
        return cls.model_validate(
            same
            | {
                "until": one.until.strftime("%H:%M") if one.until else None,
                "paused": one.paused_at is not None,
                "next_at": None if one.paused_at else one.next_at,
                "latest": one.latest_run,
                "href": schedule_path(one.name),
            }
        )


class SchedulesOut(View):
    items: list[ScheduleOut]
    next: str | None


class RunOut(View):
    """A tick's run; its job has the same id. `reasons` say why it is held, or has ended.

    `job` is null where it never began, or its job was deleted before it ended.

    `figures`, once it is settled: pairs needed (`pairs_total`), reused, scored and failed, device
    seconds, and what scoring all of them would have taken (`from_nothing_s`).
    """

    id: UUID
    schedule: str
    tick: datetime
    trigger: Trigger
    state: RunState
    reasons: list[dict[str, Any]]
    figures: dict[str, Any]
    created_at: datetime
    settled_at: datetime | None
    published_at: datetime | None
    confirmed_at: datetime | None
    confirmed_by: str | None
    job: str | None

    @classmethod
    def of(cls, one: Run) -> RunOut:
        same = {name: getattr(one, name) for name in cls.model_fields if hasattr(one, name)}
        began = one.state is not RunState.ENDED or one.figures
        job = job_path(one.run_id) if began else None
        return cls.model_validate(same | {"id": one.run_id, "job": job})


class RunsOut(View):
    items: list[RunOut]
    next: str | None


class StandingRankingOut(RankingOut):
    """`standing_query` is the caller's id of the query."""

    standing_query: str | None


class StandingRankingsOut(View):
    items: list[StandingRankingOut]
    next: str | None


class LatestOut(View):
    """The latest run and its first rankings; `next` leads to the others of the same run."""

    run: RunOut
    rankings: list[StandingRankingOut]
    next: str | None


class PastRankingOut(View):
    run: UUID
    tick: datetime
    state: RunState
    ranking: StandingRankingOut


class HistoryOut(View):
    """One standing query's rankings, the newest tick first."""

    items: list[PastRankingOut]
    next: str | None


def schedule_path(name: str) -> str:
    return f"/v1/schedules/{quote(name, safe='')}"
