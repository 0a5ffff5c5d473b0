"""What the fine benchmark's measurements say: ratios, rates, and what they cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.fine_peak import matrix_peak, necessary_flops
from benchmarks.fine_workloads import Workload
from benchmarks.report import Row

GOALS_CPU = {
    "image_image_warm_x": 2.8,
    "text_image_cold_x": 1.15,
    "text_image_warm_x": 2.1,
    "image_text_x": 4.0,
    "nightly10_warm_x": 7.0,
    "nightly10_cold_x": 5.0,
    "over_released_min_x": 3.0,
}
GOALS_GPU = {
    "image_image_warm_x": 2.5,
    "image_image_cold_x": 1.9,
    "nightly10_warm_x": 4.5,
    "nightly10_cold_x": 4.0,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A workload's seconds a pair by way (medians), and its largest difference of margins."""

    load: Workload
    seconds: dict[str, float]
    difference: float
    spread: float
    to_cross_encoder: float | None = None
    """The largest difference to the CrossEncoder's margins, where that runs."""

    def ratio(self, way: str, over: str = "naive") -> float:
        return self.seconds[over] / self.seconds[way]


@dataclass(frozen=True, slots=True)
class Setting:
    """What was measured: the model's configuration, where, and pairs of a naive batch."""

    config: Any
    device: torch.device
    dtype: torch.dtype
    shape: str
    batch: int


def report(setting: Setting, found: Sequence[Measured]) -> list[Row]:
    by_name = {one.load.name: one for one in found}
    values = {
        "image_image_warm_x": by_name["image_image"].ratio("warm"),
        "image_image_cold_x": by_name["image_image"].ratio("cold"),
        "text_image_cold_x": by_name["text_image"].ratio("cold"),
        "text_image_warm_x": by_name["text_image"].ratio("warm"),
        "image_text_x": by_name["image_text"].ratio("cold"),
        "mixed_cold_x": by_name["mixed"].ratio("cold"),
        "mixed_warm_x": by_name["mixed"].ratio("warm"),
        "nightly2_warm_x": by_name["nightly2"].ratio("warm"),
        "nightly5_warm_x": by_name["nightly5"].ratio("warm"),
        "nightly10_warm_x": by_name["nightly10"].ratio("warm"),
        "nightly10_cold_x": by_name["nightly10"].ratio("cold"),
        "over_released_min_x": min(one.ratio("enhanced", "released") for one in found),
    }
    values |= {
        f"{one.load.name}_over_cross_encoder_x": one.ratio("warm", "cross_encoder")
        for one in found
        if "cross_encoder" in one.seconds
    }
    goals = GOALS_CPU if setting.device.type == "cpu" else GOALS_GPU
    rows = [
        Row(name, value, "x", goals.get(name), ">=" if name in goals else None)
        for name, value in values.items()
    ]
    rows += [
        Row(f"{one.load.name}_{way}", 1 / seconds, "pairs/s")
        for one in found
        for way, seconds in one.seconds.items()
    ]
    rows += [*_quality(setting, found), *_peak(setting, by_name["image_image"])]
    return rows


def _quality(setting: Setting, found: Sequence[Measured]) -> list[Row]:
    """What does not depend on a ratio over naive: enhancement's cost, equality, padding."""
    costs = [one.seconds["enhanced"] / one.seconds["warm"] - 1 for one in found if _sees(one)]
    worst = max(found, key=lambda one: one.difference / (1e-4 * one.spread + 1e-6))
    exact = setting.dtype is torch.float32
    goal = 1e-4 * worst.spread + 1e-6 if exact else None
    limit = 0.06 if setting.device.type == "cpu" else 0.03
    return [
        Row("enhancement_overhead", statistics.median(costs), "share", limit, "<="),
        Row("largest_margin_difference", worst.difference, "", goal, "<=" if goal else None),
        Row("margin_std", worst.spread, ""),
        *_to_cross_encoder(found, goal),
        *(
            Row(f"{one.load.name}_naive_padding", _padding(setting, one.load), "share")
            for one in found
        ),
    ]


def _to_cross_encoder(found: Sequence[Measured], goal: float | None) -> list[Row]:
    seen = [one.to_cross_encoder for one in found if one.to_cross_encoder is not None]
    name = "largest_cross_encoder_difference"
    return [Row(name, max(seen), "", goal, "<=" if goal else None)] if seen else []


def _sees(one: Measured) -> bool:
    return any(one.load.images)


def _padding(setting: Setting, load: Workload) -> float:
    """The share of a naive batch's tokens that are padding; ours has none outside attention."""
    real = total = 0
    for start in range(0, len(load), setting.batch):
        lengths = [prompt.length for prompt in load.prompts[start : start + setting.batch]]
        real, total = real + sum(lengths), total + len(lengths) * max(lengths)
    return 1 - real / total


def _peak(setting: Setting, one: Measured) -> list[Row]:
    """The share of the device's measured matrix peak that the necessary arithmetic reaches."""
    if setting.device.type == "cpu":
        return []
    peak = matrix_peak(setting.device, setting.dtype)
    needed = necessary_flops(setting.config, one.load)
    share = needed / (one.seconds["cold"] * len(one.load)) / peak
    goal = 0.5 if setting.shape == "7b" else None
    return [
        Row("matrix_peak", peak / 1e12, "TFLOP/s"),
        Row("peak_share", share, "share", goal, ">=" if goal else None),
    ]
