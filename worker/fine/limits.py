"""How much memory the fine stage may keep, and how many tokens it computes at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from repick.settings import Settings

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """Budgets of one model on one device.

    `batch_tokens` bounds the tokens of one forward pass, and so its activations; the others are
    bytes: of visual tokens on the device, of those moved to the host, and of computed prefixes.
    """

    batch_tokens: int
    vision_bytes: int
    host_bytes: int
    prefix_bytes: int

    @classmethod
    def of(cls, device: torch.device) -> MemoryLimits:
        """What suits a device.

        On an accelerator a sixteenth of its memory each for visual tokens and prefixes. On the
        CPU, whose caches are smaller than a batch, few tokens, and no second tier: host memory
        is device memory.
        """
        if device.type == "cpu":
            return cls(2048, 256 * _MIB, 0, 256 * _MIB)
        if device.type == "cuda":
            share = torch.cuda.get_device_properties(device).total_memory // 16
            return cls(16_384, share, 4096 * _MIB, share)
        return cls(8192, 512 * _MIB, 0, 512 * _MIB)

    @classmethod
    def chosen(cls, settings: Settings, device: torch.device) -> MemoryLimits:
        """What the settings say, and what suits the device where they say nothing."""
        suits = cls.of(device)
        return cls(
            suits.batch_tokens if settings.pass_tokens is None else settings.pass_tokens,
            _bytes(settings.vision_mib, suits.vision_bytes),
            _bytes(settings.vision_host_mib, suits.host_bytes),
            _bytes(settings.prefix_mib, suits.prefix_bytes),
        )


def _bytes(mib: int | None, otherwise: int) -> int:
    return otherwise if mib is None else mib * _MIB
