"""Which faults strike when: by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.chaos.commits import LATE

COUNTS = {
    "kill fine": 20,
    "kill coarse": 5,
    "kill api": 5,
    "kill sweep": 3,
    "restart broker": 3,
    "reset broker": 3,
    "lose messages": 2,
    "wipe broker": 2,
    "silence broker": 3,
    "slow broker": 3,
    "postgres immediate": 3,
    "stall fine": 20,
    "stray messages": 3,
    LATE: 5,
    "slow postgres": 5,
    "silence postgres": 3,
    "reset postgres": 3,
}
"""Those of the long run; a shorter one scales them, one of each kind at least."""

QUICK = ("kill fine", "kill api", "wipe broker", "postgres immediate", "stall fine")
"""Once each in a quick run: a part of each sort dies, and a worker comes back from the dead."""


@dataclass(frozen=True, slots=True)
class Fault:
    at_s: float
    kind: str


def schedule(seed: int, seconds: float, scale: float) -> list[Fault]:
    """Every kind `scale` times its count, at least once, at random times."""
    chance = random.Random(seed)
    kinds = [kind for kind, n in COUNTS.items() for _ in range(max(1, round(n * scale)))]
    return sorted(
        (Fault(chance.uniform(0.05, 1) * seconds, kind) for kind in kinds),
        key=lambda fault: fault.at_s,
    )


def only(kind: str, seed: int, seconds: float) -> list[Fault]:
    """The faults of one kind, of the long run's schedule, in this time."""
    return [fault for fault in schedule(seed, seconds, 1) if fault.kind == kind]


def quick(seed: int, seconds: float) -> list[Fault]:
    """Each of QUICK once."""
    return [fault for fault in schedule(seed, seconds, 0) if fault.kind in QUICK]
