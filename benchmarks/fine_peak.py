"""How fast the device multiplies matrices, and how much multiplying a workload needs."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.fine_workloads import Workload


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int = 8192) -> float:
    """Measured operations a second of a large square matrix product: the best of five."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        torch.cuda.synchronize(device)
        best = min(best, (time.perf_counter() - start) / 10)
    return 2 * size**3 / best


def necessary_flops(config: Any, load: Workload) -> float:
    """What cannot be left out: each distinct image once, each distinct token once, one head row.

    A token needs its layers' matrices and attention to what stands before it; the last layer's
    feed-forward network and the vocabulary head are needed for one row a pair.
    """
    text = config.text_config
    width, layers = text.hidden_size, text.num_hidden_layers
    heads = width + 2 * width * text.num_key_value_heads // text.num_attention_heads
    attention, ffn = 2 * width * (heads + width), 6 * width * text.intermediate_size
    tokens, seen = _distinct_tokens(load)
    flops = layers * tokens * attention + (layers - 1) * tokens * ffn
    flops += layers * 4 * width * seen
    flops += len(load) * (ffn + 2 * width * text.vocab_size)
    images = {image.segment: image for one in load.images for image in one}
    patches = [image.segment.grid[1] * image.segment.grid[2] for image in images.values()]
    return float(flops + sum(_vision_flops(config.vision_config, count) for count in patches))


def _distinct_tokens(load: Workload) -> tuple[int, int]:
    """Tokens that differ in what stands before them, and the places that these attend to."""
    tokens = seen = 0
    known = set()
    for prompt in load.prompts:
        place = 0
        for no, segment in enumerate(prompt.segments):
            front = prompt.segments[: no + 1]
            if front not in known:
                known.add(front)
                tokens += segment.length
                seen += segment.length * place + segment.length**2 // 2
            place += segment.length
    return tokens, seen


def _vision_flops(vision: Any, patches: int) -> float:
    """One image's way through the tower; attention within windows, fully in a few layers."""
    width = getattr(vision, "embed_dim", None) or vision.hidden_size
    inner = getattr(vision, "intermediate_size", None)
    ffn = 6 * width * inner if inner else 4 * width * vision.mlp_ratio * width
    full = len(getattr(vision, "fullatt_block_indexes", ())) or vision.depth
    window = min(patches, (getattr(vision, "window_size", 0) // vision.patch_size) ** 2 or patches)
    linear = vision.depth * patches * (8 * width * width + ffn)
    attention = 4 * width * patches * (full * patches + (vision.depth - full) * window)
    merged = 4 * width
    out = getattr(vision, "out_hidden_size", None) or vision.hidden_size
    merger = patches // 4 * 2 * merged * (merged + out)
    return float(linear + attention + merger)
