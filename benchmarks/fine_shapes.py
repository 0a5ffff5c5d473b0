"""Random models of true proportions, and random images for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from worker.fine.families.qwen import QwenVL
from worker.fine.families.qwen2_5_vl import Qwen25VL
from worker.fine.families.qwen2_vl import Qwen2VL

IDS = {"image": 4094, "video": 4095, "start": 4092, "end": 4093}
"""Control tokens; the words of a workload are drawn from below them."""

_HEAD_SCALE = 12.0
"""Times the vocabulary head, so that the margins of random weights spread."""

_TOY_TEXT: Mapping[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 1352,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_window_layers": 8,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e6,
        "mrope_section": [8, 12, 12],
    },
}
_TOY_VISION: Mapping[str, Any] = {
    "depth": 4,
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_heads": 4,
    "out_hidden_size": 256,
    "fullatt_block_indexes": [1, 3],
}
_BIG_ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
_2B_TEXT: Mapping[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "max_window_layers": 28,
    "rope_parameters": _BIG_ROPE,
}
_7B_TEXT: Mapping[str, Any] = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_window_layers": 28,
    "rope_parameters": _BIG_ROPE,
}

Shape = tuple[type[QwenVL], Any, Any, Mapping[str, Any], Mapping[str, Any]]
SHAPES: Mapping[str, Shape] = {
    "toy": (
        Qwen25VL,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        _TOY_TEXT,
        _TOY_VISION,
    ),
    "2b": (
        Qwen2VL,
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        _2B_TEXT,
        {"hidden_size": 1536},
    ),
    "7b": (
        Qwen25VL,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        _7B_TEXT,
        {"hidden_size": 1280, "out_hidden_size": 3584},
    ),
}
"""Qwen2.5-VL's structure in toy size, Qwen2-VL-2B, Qwen2.5-VL-7B."""


def make_model(shape: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, QwenVL]:
    """The library's model and our adapter of it, with random weights made on the device."""
    adapter, config_class, architecture, text, vision = SHAPES[shape]
    config = config_class(
        text_config={**text, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        vision_config=dict(vision),
        image_token_id=IDS["image"],
        video_token_id=IDS["video"],
        vision_start_token_id=IDS["start"],
        vision_end_token_id=IDS["end"],
    )
    usual = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = architecture(config).eval()
    finally:
        torch.set_default_dtype(usual)
    with torch.no_grad():
        model.lm_head.weight.mul_(_HEAD_SCALE)
    return model, adapter(model, None, None)


def random_patches(grid: tuple[int, int, int], seed: int) -> Tensor:
    """Patches of an image of 14-pixel patches, as the image processor would give them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(grid[0] * grid[1] * grid[2], 3 * 2 * 14 * 14, generator=generator)
