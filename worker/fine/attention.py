"""Attention of runs of different lengths, in one call where the device can.

The vision towers hand over all their windows at once, in the place of one call a window.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

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


def varlen_fits(query: Tensor) -> bool:
    """Whether the device's variable-length flash attention takes this dtype and head size."""
    return (
        query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] <= 256
        and query.shape[-1] % 8 == 0
        and torch.cuda.get_device_capability(query.device)[0] >= 8
        and _varlen_op() is not None
    )


def _varlen_op() -> Any:
    return getattr(torch.ops.aten, "_flash_attention_forward", None)


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_bounds: Tensor,
    key_bounds: Tensor,
    longest_query: int,
    longest_key: int,
    scale: float,
    *,
    causal: bool = False,
) -> Tensor:
    """Flash attention of runs of different lengths: (Tq, H, d) of query (Tq, H, d), key (Tk, K, d).

    Bounds are cumulative int32. Causal runs are aligned at their ends: the last query row of a
    run sees all of its keys.
    """
    output: Tensor = _varlen_op()(
        query.contiguous(),
        key.contiguous(),
        value.contiguous(),
        query_bounds.int(),
        key_bounds.int(),
        longest_query,
        longest_key,
        0.0,
        causal,
        False,
        scale=scale,
    )[0]
    return output
