"""What a fine worker may keep is configured, bounded and told."""

from __future__ import annotations

import pytest
import torch
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from repick.metrics import WorkerFigures
from repick.settings import Settings
from worker.fine.limits import MemoryLimits

CPU = torch.device("cpu")


def test_without_settings_the_limits_are_the_devices_own() -> None:
    assert MemoryLimits.chosen(Settings(), CPU) == MemoryLimits.of(CPU)


def test_settings_bound_each_part_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PASS_TOKENS", 512), ("VISION_MIB", 3), ("VISION_HOST_MIB", 0)):
        monkeypatch.setenv(f"REPICK_{name}", str(value))
    suits = MemoryLimits.of(CPU)
    expected = MemoryLimits(512, 3 * 1024 * 1024, 0, suits.prefix_bytes)
    assert MemoryLimits.chosen(Settings(), CPU) == expected


@pytest.mark.parametrize("name", ["pass_tokens", "vision_mib", "prefix_mib"])
def test_less_than_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: -1})


def test_memory_is_read_at_every_scrape() -> None:
    registry = CollectorRegistry()
    kept = {"vision": 10, "prefixes": 0}
    WorkerFigures(registry).memory(lambda: kept)
    kept["vision"] = 30
    values = [
        registry.get_sample_value("repick_model_memory_bytes", {"what": what}) for what in kept
    ]
    assert values == [30, 0]
