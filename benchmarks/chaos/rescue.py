"""How long the slices of a lost worker waited until another had them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from sqlalchemy import text

from repick.errors import Unavailable
from repick.store.database import Database

_HELD = text(
    "SELECT job_id::text || '/' || stage::text || '/' || no AS slice, token::text AS token"
    " FROM slice WHERE state = 'claimed' AND owner LIKE :owner"
)
_STILL = text(
    "SELECT s.job_id::text || '/' || s.stage::text || '/' || s.no AS slice,"
    " s.token::text AS token FROM slice s JOIN job ON job.id = s.job_id"
    " WHERE s.state = 'claimed' AND job.finished_at IS NULL"
)
_LOOK_S = 0.25


@dataclass(slots=True)
class Rescues:
    """Watches from a thread; `seconds` has one entry for each slice that was rescued."""

    database: Database
    seconds: list[float] = field(default_factory=list)
    _lost: dict[tuple[str, str], float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def lost(self, pid: int) -> None:
        """The worker of that process is gone, or stands still."""
        try:
            with self.database.read() as connection:
                held = connection.execute(_HELD, {"owner": f"fine-{pid}@%"}).all()
        except Unavailable:  # Postgres is down as well: its slices go unmeasured, not unrescued
            return
        with self._lock:
            self._lost |= {(row.slice, row.token): time.monotonic() for row in held}

    def run(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            if self._lost:
                self._look()

    def _look(self) -> None:
        try:
            with self.database.read() as connection:
                still = {(row.slice, row.token) for row in connection.execute(_STILL)}
        except Unavailable:
            return
        with self._lock:
            for one in [one for one in self._lost if one not in still]:
                self.seconds.append(time.monotonic() - self._lost.pop(one))

    def stop(self) -> None:
        self._stopping.set()
