"""One round of retention, in short transactions; the sweep runs it now and then.

Weeks of jobs are made ahead and dropped; what is left of their contents follows. Any number may
run at once, and any may die at any point. See `repick/store/retention.py` for what may go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog

from repick.errors import Unavailable
from repick.media import MediaStore
from repick.settings import Settings
from repick.store import partitions, retention
from repick.store.database import Connection, Database
from repick.store.partitions import Week
from repick.store.retention import GRACE, START, Ages, Place

log = structlog.get_logger(__name__)

BATCHES = 100
"""Of each kind in a round: the next one goes on."""
WALKED = 1000
"""Thousands of contents that a round looks at."""


def ages(settings: Settings) -> Ages:
    return Ages(
        timedelta(days=settings.keep_jobs_days),
        timedelta(days=settings.keep_nightly_days),
        timedelta(days=settings.keep_scores_days),
    )


@dataclass(slots=True)
class Positions:
    """Where a round has come among the contents, and the next one goes on."""

    pairs: Place = START
    unused: Place = START


@dataclass(frozen=True, slots=True)
class Retention:
    database: Database
    media: MediaStore
    ages: Ages
    positions: Positions = field(default_factory=Positions)

    def run(self, now: datetime) -> None:
        """One round. Raises Unavailable where a server, or for 2 s a lock, is not to be had."""
        self.make_weeks(now)
        jobs = self.drop_weeks(now)
        pairs = self._delete_pairs()
        self._mark()
        contents = self._batches(retention.delete_contents)
        comparisons = self._batches(retention.delete_comparisons)
        media = self._delete_media()
        log.info(
            "retention",
            jobs=jobs,
            pairs=pairs,
            contents=contents,
            comparisons=comparisons,
            media=media,
        )

    def make_weeks(self, now: datetime) -> None:
        with self.database.begin() as connection:
            partitions.in_turn(connection)
            for week in partitions.missing(connection, now):
                if partitions.create(connection, week):
                    log.info("week made", week=f"{week.start:%Y-%m-%d}")

    def drop_weeks(self, now: datetime) -> int:
        """Drop weeks past their age of which nothing is kept; of others, what is not.

        Gives how many jobs were deleted one by one.
        """
        with self.database.begin() as connection:
            weeks = partitions.weeks(connection)
        oldest = now - min(self.ages.jobs, self.ages.nightly)
        left = [week for week in weeks if week.end <= oldest and not self._dropped(week, now)]
        names = [week.of("job") for week in left] + [partitions.DEFAULT]
        return sum(
            self._batches(partial(retention.delete_jobs, partition=name, ages=self.ages, now=now))
            for name in names
        )

    def _dropped(self, week: Week, now: datetime) -> bool:
        try:
            with self.database.begin() as connection:
                partitions.in_turn(connection)
                if week not in partitions.weeks(connection):
                    return True  # another sweep was quicker
                if not retention.week_expired(connection, week, self.ages, now):
                    return False
                partitions.drop(connection, week)
        except Unavailable as exc:
            log.warning("week not dropped", week=f"{week.start:%Y-%m-%d}", reason=exc.detail)
            return False
        log.info("week dropped", week=f"{week.start:%Y-%m-%d}")
        return True

    def _delete_pairs(self) -> int:
        total, after = 0, self.positions.pairs
        for _ in range(WALKED):
            with self.database.begin() as connection:
                gone, last = retention.delete_pairs(connection, self.ages.scores, after)
            total, after = total + gone, last or START
            self.positions.pairs = after
            if last is None:
                break
        return total

    def _mark(self) -> None:
        with self.database.begin() as connection:
            retention.unmark_contents(connection)
        for _ in range(WALKED):
            with self.database.begin() as connection:
                last = retention.mark_contents(connection, self.positions.unused)
            self.positions.unused = last or START
            if last is None:
                break

    def _delete_media(self) -> int:
        """Rows first, committed; then the bytes, unless a submit has put them again since."""
        total = 0
        for _ in range(BATCHES):
            with self.database.begin() as connection:
                gone = retention.delete_media(connection)
            for tenant_id, sha256 in gone:
                self.media.remove(tenant_id, sha256, unless_put_within=GRACE)
            total += len(gone)
            if not gone:
                break
        return total

    def _batches(self, delete: Callable[[Connection], int]) -> int:
        total = 0
        for _ in range(BATCHES):
            with self.database.begin() as connection:
                gone = delete(connection)
            total += gone
            if not gone:
                break
        return total
