"""Request bodies about standing queries and schedules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas import (
    MAX_ID_CHARS,
    MAX_ITEMS,
    PIXEL,
    SCORER_PATTERN,
    ImageText,
    Metadata,
    Name,
    Strict,
)

Tag = Annotated[str, Field(min_length=1, max_length=100)]
Tags = Annotated[list[Tag], Field(max_length=50)]


class StandingQueryRequest(Strict):
    """A query that a corpus is asked again and again: a text, an image, or both."""

    id: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS, description="The caller's.")]
    text: str | None = None
    image: ImageText | None = None
    instruction: Annotated[
        str | None, Field(description="Stands before the query; part of what is scored.")
    ] = None
    tags: Annotated[Tags, Field(description="By which schedules choose.", default_factory=list)]
    metadata: Annotated[Metadata, Field(default_factory=dict)]


class StandingQueriesRequest(Strict):
    queries: Annotated[list[StandingQueryRequest], Field(min_length=1, max_length=MAX_ITEMS)]


Cron = Annotated[
    str, Field(max_length=200, description="Five fields: minute hour day month weekday.")
]
Zone = Annotated[str, Field(max_length=100, description="An IANA name, as `Europe/Berlin`.")]
Until = Annotated[
    str,
    Field(
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="Local time at which a run's window closes, as `06:00`.",
    ),
]
Missed = Annotated[
    Literal["run", "skip"],
    Field(description="A tick seen over five minutes late: the newest is made up, or skipped."),
]
AfterUntil = Annotated[
    Literal["partial", "put_off"],
    Field(
        description="When the window closes: the run ends with the queries it has finished, or"
        " its rest waits for the next tick."
    ),
]
Filter = Annotated[dict[str, Any], Field(description="As a job's.")]
Scorer = Annotated[str, Field(pattern=SCORER_PATTERN)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Alarms = Annotated[
    dict[str, Any],
    Field(description="Thresholds that keep a run from becoming the latest until confirmed."),
]


class ScheduleRequest(Strict):
    """When a corpus's standing queries are ranked again, and how."""

    name: Name
    corpus: Annotated[str, Field(min_length=1, max_length=200)]
    cron: Cron
    time_zone: Zone = "UTC"
    missed: Missed = "run"
    until: Until | None = None
    after_until: AfterUntil = "partial"
    tags: Annotated[
        Tags | None, Field(min_length=1, description="Queries with one of these; all without.")
    ] = None
    scorer: Scorer | None = None
    k: Count = 20
    top_n: Count | None = None
    filter: Filter | None = None
    blend: Share = 0.0
    min_score: Share | None = None
    alarms: Annotated[Alarms, Field(default_factory=dict)]
    metadata: Annotated[Metadata, Field(default_factory=dict)]


class SchedulePatch(Strict):
    """What is given is changed; from the next run on."""

    cron: Cron | None = None
    time_zone: Zone | None = None
    missed: Missed | None = None
    until: Until | None = None
    after_until: AfterUntil | None = None
    tags: Annotated[Tags | None, Field(min_length=1)] = None
    scorer: Scorer | None = None
    k: Count | None = None
    top_n: Count | None = None
    filter: Filter | None = None
    blend: Share | None = None
    min_score: Share | None = None
    alarms: Alarms | None = None
    metadata: Metadata | None = None


class RunRequest(Strict):
    date: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            description="A local date: its tick is run, over the corpus as it is now.",
        ),
    ] = None


QUERIES_EXAMPLE = {
    "queries": [
        {"id": "red-cups", "text": "a red cup", "tags": ["kitchen"]},
        {"id": "like-this", "image": PIXEL, "text": "the same, but blue"},
    ]
}
SCHEDULE_EXAMPLE = {
    "name": "every-night",
    "corpus": "photos",
    "cron": "30 2 * * *",
    "time_zone": "Europe/Berlin",
    "until": "06:00",
    "k": 50,
    "top_n": 20,
}
