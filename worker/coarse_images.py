"""Images as an encoder's vision tower wants them: what its processor gives, in fewer steps.

After resizing, a processor's arithmetic sees each byte by itself, so that its 256 results in each
channel are a table. Looking them up takes a fifth of the arithmetic, in one call that leaves the
interpreter to the device thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend

Inputs = dict[str, torch.Tensor]
LEVELS = 256


@dataclass(frozen=True, slots=True)
class ImageReader:
    """An image processor; `table` (3 · 256) holds a pixel's values in each channel in turn.

    None where the processor does more than resize, crop, rescale and normalise.
    """

    processor: Any
    table: torch.Tensor | None

    @classmethod
    def of(cls, processor: Any) -> ImageReader:
        return cls(processor, _table(processor) if _is_by_pixel(processor) else None)

    def __call__(self, images: Sequence[Image.Image]) -> Inputs:
        """RGB images as `plain` gives them, to the last bit."""
        if self.table is None:
            return self.plain(images)
        pixels = self.processor(
            images=list(images), do_rescale=False, do_normalize=False, return_tensors="pt"
        )["pixel_values"]  # (B, 3, H, W), bytes
        places = pixels.int() + LEVELS * torch.arange(3, dtype=torch.int).view(1, 3, 1, 1)
        # `index_select` takes a quarter of the time of `table[places]`.
        values = self.table.index_select(0, places.flatten())
        return {"pixel_values": values.view(pixels.shape)}

    def plain(self, images: Sequence[Image.Image]) -> Inputs:
        """The processor's own, an image at a time: it may round differently for several sizes."""
        parts = [self.processor(images=[image], return_tensors="pt") for image in images]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _is_by_pixel(processor: Any) -> bool:
    own = type(processor)._preprocess is PilBackend._preprocess
    return own and not getattr(processor, "do_pad", None)


def _table(processor: Any) -> torch.Tensor:
    """What the processor itself makes of each byte, in each channel."""
    grey = Image.frombytes("L", (LEVELS, 1), bytes(range(LEVELS))).convert("RGB")
    same = {"do_resize": False, "do_center_crop": False}
    made = processor(images=[grey], return_tensors="pt", **same)
    values: torch.Tensor = made["pixel_values"]  # (1, 3, 1, 256)
    return values.flatten()
