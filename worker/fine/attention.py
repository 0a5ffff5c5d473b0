"""Attention of runs of different lengths, in one call where the device can.

The vision towers hand over all their windows at once, in the place of one call a window.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from worker.fine.varlen import varlen, varlen_fits

WINDOWS = "repick_flash_windows"
"""The library hands windows over in one piece to implementations with "flash" in their name."""


def register() -> None:
    """Make the function known to the library; the same one again does no harm."""
    AttentionInterface.register(WINDOWS, window_attention)


def window_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention within each window of a vision tower: (1, N, H, d) of all (1, H, N, d).

    Window i is the rows from cu_seq_lens_q[i] to cu_seq_lens_q[i + 1].
    """
    del module, attention_mask, kwargs
    if varlen_fits(query):
        q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
        longest = int((cu_seq_lens_q[1:] - cu_seq_lens_q[:-1]).max())
        bounds = cu_seq_lens_q
        return varlen(q, k, v, bounds, bounds, longest, longest, scaling)[None], None
    parts = torch.stack([query[0], key[0], value[0]])  # (3, H, N, d)
    output = torch.empty_like(parts[0])  # (H, N, d)
    for rows in _windows_by_length(cu_seq_lens_q):
        q, k, v = parts[:, :, rows].transpose(1, 2)  # (n, H, w, d) after indexing
        found = F.scaled_dot_product_attention(q, k, v, scale=scaling)
        output[:, rows] = found.transpose(0, 1)
    return output.transpose(0, 1)[None], None


def _windows_by_length(bounds: Tensor) -> list[Tensor]:
    """Row numbers (n, w) of the windows of each length."""
    starts, lengths = bounds[:-1], bounds[1:] - bounds[:-1]
    return [
        starts[lengths == length][:, None] + torch.arange(length, device=bounds.device)
        for length in sorted(set(lengths.tolist()) - {0})
    ]
