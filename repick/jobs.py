"""What a job is: its states and their legal moves, its slices, and what a scored pair holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class JobKind(StrEnum):
    """Which queue a job's slices take; batch and nightly work share the bulk queue."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    NIGHTLY = "nightly"

    def queue(self, base: str) -> str:
        """The queue of this kind for a model's work."""
        return base if self is JobKind.INTERACTIVE else bulk_queue(base)


_BULK = ".bulk"


def bulk_queue(base: str) -> str:
    """The queue of work that gives way to interactive work on `base`."""
    return f"{base}{_BULK}"


def urgent_queue(queue: str) -> str | None:
    """The queue to whose work that of `queue` gives way; None where it gives way to none."""
    return queue.removesuffix(_BULK) if queue.endswith(_BULK) else None


class JobState(StrEnum):
    QUEUED = "queued"  # committed, nobody has claimed any of it
    RETRIEVING = "retrieving"  # the coarse stage proposes candidates
    SCORING = "scoring"  # the fine stage judges pairs
    RANKING = "ranking"  # every pair is judged; rankings are being written
    SUCCEEDED = "succeeded"  # every query has its ranking
    PARTIAL = "partial"  # some queries have theirs, and the job says which have not
    FAILED = "failed"  # no query has a ranking; `error` says why
    CANCELLED = "cancelled"  # by the caller; nothing is written after it

    @property
    def final(self) -> bool:
        return not MOVES[self]


_LIVE_EXITS = frozenset({JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED})
MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RETRIEVING, JobState.SCORING, JobState.RANKING})
    | _LIVE_EXITS,
    JobState.RETRIEVING: frozenset({JobState.SCORING, JobState.RANKING}) | _LIVE_EXITS,
    JobState.SCORING: frozenset({JobState.RANKING}) | _LIVE_EXITS,
    JobState.RANKING: frozenset({JobState.SUCCEEDED}) | _LIVE_EXITS,
    JobState.SUCCEEDED: frozenset(),
    JobState.PARTIAL: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


class Stage(StrEnum):
    """A job goes through its stages in this order; each is cut into slices."""

    RETRIEVE = "retrieve"
    SCORE = "score"
    RANK = "rank"

    @property
    def state(self) -> JobState:
        """The state of a job of which this stage is being worked on."""
        return _WORKED_ON[self]


_WORKED_ON = {
    Stage.RETRIEVE: JobState.RETRIEVING,
    Stage.SCORE: JobState.SCORING,
    Stage.RANK: JobState.RANKING,
}


class SliceState(StrEnum):
    WAITING = "waiting"  # nobody has it
    CLAIMED = "claimed"  # a worker has it until its lease ends
    DONE = "done"  # its work is committed
    FAILED = "failed"  # three claims in a row committed nothing; `error_code` says why


MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Slice:
    """A claimed run of one stage's work: queries for retrieve and rank, pairs for score."""

    job_id: UUID
    tenant_id: int
    stage: Stage
    no: int
    first: int
    last: int
    token: UUID
    attempts: int
    trace: str | None = None
    """The trace context of the job's submit, as W3C `traceparent`."""


@dataclass(frozen=True, slots=True)
class PairScore:
    """What the scorer says of one pair; double precision, from float32 logits.

    `margin` is None only for the `paper` readout. `enhanced_at` and `label_logits` have one entry
    a forward pass (two for `choice_balanced`); a layer is None where enhancement did not fire.
    `cut_tokens` is how many of the document's tokens were left out to make the pair fit.
    """

    margin: float | None
    score: float
    label_mass: float
    entropy: float
    enhanced_at: tuple[int | None, ...]
    label_logits: tuple[tuple[float, ...], ...]
    cut_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PairFailure:
    """Why a pair has no score; it becomes an item's error and never a made-up score."""

    code: str
    detail: str
    retryable: bool = False
