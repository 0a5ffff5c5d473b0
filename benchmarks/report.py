"""The form of every benchmark's result: a table for people, JSON for programs (DESIGN, Habits)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One measured value; `goal` and `sense` (">=" or "<=") are None where there is no goal."""

    metric: str
    value: float
    unit: str
    goal: float | None = None
    sense: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.sense == ">=" else self.value <= self.goal


def machine(device: str = "") -> dict[str, Any]:
    """What the figures depend on: processor kind, cores, accelerator, Python."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "device": device or "cpu",
        "python": platform.python_version(),
    }


def write_json(
    path: Path, benchmark: str, where: dict[str, Any], rows: Sequence[Row], *, quick: bool
) -> None:
    value = {
        "benchmark": benchmark,
        "machine": where,
        "quick": quick,
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def print_table(rows: Sequence[Row]) -> None:
    width = max(len(row.metric) for row in rows)
    for row in rows:
        goal = "" if row.goal is None else f"goal {row.sense} {row.goal:.4g}"
        mark = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"{row.metric:<{width}}  {row.value:>12.5g} {row.unit:<8} {goal:<16} {mark}")
