"""Which fault happens when: drawn from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    KILL_FINE = "kill -9 of a fine worker"
    KILL_COARSE = "kill -9 of the coarse worker"
    KILL_API = "kill -9 of the API"
    KILL_SWEEP = "kill -9 of the sweep"
    STALL = "SIGSTOP of a fine worker past its lease"
    RESTART_BROKER = "restart of the broker, which keeps nothing"
    FLUSH = "FLUSHALL"
    SILENCE = "the broker's connections fall silent"
    STOP_DATABASE = "immediate stop of Postgres"
    DUPLICATE = "every live job's messages again, in any order"
    TERMINATE = "SIGTERM of a fine worker"


KILLS = (Fault.KILL_FINE, Fault.STALL, Fault.STOP_DATABASE, Fault.TERMINATE)
"""Faults that may cost a batch that was computed and not yet committed."""

SHORT: Mapping[Fault, int] = {
    Fault.KILL_FINE: 4,
    Fault.KILL_COARSE: 1,
    Fault.KILL_API: 1,
    Fault.KILL_SWEEP: 1,
    Fault.STALL: 2,
    Fault.RESTART_BROKER: 1,
    Fault.FLUSH: 1,
    Fault.SILENCE: 1,
    Fault.STOP_DATABASE: 1,
    Fault.DUPLICATE: 2,
    Fault.TERMINATE: 1,
}
LONG: Mapping[Fault, int] = {
    Fault.KILL_FINE: 16,
    Fault.KILL_COARSE: 4,
    Fault.KILL_API: 5,
    Fault.KILL_SWEEP: 3,
    Fault.STALL: 20,
    Fault.RESTART_BROKER: 3,
    Fault.FLUSH: 2,
    Fault.SILENCE: 2,
    Fault.STOP_DATABASE: 3,
    Fault.DUPLICATE: 5,
    Fault.TERMINATE: 5,
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault, and when, in seconds from the first job."""

    at: float
    fault: Fault


def plan(counts: Mapping[Fault, int], seconds: float, seed: int) -> tuple[Planned, ...]:
    """Every fault as often as counted, in any order, spread over the time with some jitter."""
    rng = random.Random(f"chaos/{seed}")
    faults = [fault for fault, count in counts.items() for _ in range(count)]
    rng.shuffle(faults)
    step = seconds / len(faults)
    return tuple(
        Planned(step * (no + rng.uniform(0.1, 0.9)), fault) for no, fault in enumerate(faults)
    )
