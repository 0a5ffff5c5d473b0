"""Which scorer a submit means: its name is looked up at most once in REFRESH_S.

A name stands for the scorer that a worker registered last, and what stands in a scorer never
changes: at worst a job gets the one that the name stood for a moment ago.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from api.schemas import JobRequest
from repick.errors import InvalidField, Unavailable
from repick.specs import LengthPolicy, Readout
from repick.store import registry
from repick.store.database import Database
from repick.store.registry import Registered

REFRESH_S = 0.5
Wanted = tuple[str | None, str | None]
"""A scorer's name, and the length policy; None for the default of either."""


@dataclass(slots=True)
class Scorers:
    """Any thread may use it. Only names that are registered are kept, so they are few."""

    database: Database
    clock: Callable[[], float] = time.monotonic
    _found: dict[Wanted, tuple[Registered, float]] = field(default_factory=dict)

    def of(self, request: JobRequest) -> Registered:
        """The scorer that the request names, of the length policy that it asks for.

        Raises InvalidField where it names none that is served or that fits the request, and
        Unavailable where none is registered yet.
        """
        wanted = request.scorer, request.length_policy
        now = self.clock()
        one, read_at = self._found.get(wanted, (None, now))
        if one is None or now - read_at >= REFRESH_S:
            one = self._read(*wanted)
            self._found[wanted] = one, now
        if request.blend > 0 and one.specification["readout"] == Readout.PAPER:
            raise InvalidField("blend", "this readout has no margin to blend", code="no_margin")
        return one

    def _read(self, name: str | None, policy: str | None) -> Registered:
        with self.database.read() as connection:
            if name is None:
                found = registry.default_scorer(connection)
            else:
                found = registry.scorer_named(connection, name)
            if found is None and name is None:
                raise Unavailable("no worker has registered a scorer yet", code="no_scorer")
            if found is None:
                detail = "no scorer of this name is registered: GET /v1/scorers lists them"
                raise InvalidField("scorer", detail, code="unknown_scorer")
            if policy is not None:
                found = registry.with_policy(connection, found, LengthPolicy(policy))
        if found is None:
            detail = "no worker serves this scorer with this policy"
            raise InvalidField("length_policy", detail, code="policy_not_served")
        return found
