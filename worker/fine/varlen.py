"""Variable-length flash attention, where the device has it and it does what we take it to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def varlen_fits(query: Tensor) -> bool:
    """Whether the device's variable-length flash attention takes this dtype and head size.

    It is tried once, against SDPA: a kernel that aligns causal runs otherwise is not used.
    """
    if not query.is_cuda or query.dtype not in (torch.bfloat16, torch.float16):
        return False
    return _varlen_agrees(query.device, query.dtype, query.shape[-1])


@lru_cache(maxsize=16)
def _varlen_agrees(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    try:
        return varlen_error(varlen, device, dtype, size) < 0.02
    except (RuntimeError, AttributeError):  # no such kernel here, or not for this head size
        return False


def varlen_error(
    call: Callable[..., Tensor], device: torch.device, dtype: torch.dtype, size: int
) -> float:
    """The largest difference of a variable-length attention from SDPA, on two small runs.

    Two key heads for four query heads, and runs that see more keys than they have rows.
    """
    generator = torch.Generator().manual_seed(0)
    queries, keys = (3, 5), (7, 5)
    shapes = ((sum(queries), 4, size), (sum(keys), 2, size), (sum(keys), 2, size))
    drawn = (torch.randn(shape, generator=generator) for shape in shapes)
    query, key, value = (part.to(device, dtype) for part in drawn)
    bounds = [torch.tensor([0, one[0], sum(one)]).int().to(device) for one in (queries, keys)]
    scale = size**-0.5
    found = call(query, key, value, *bounds, max(queries), max(keys), scale, causal=True)
    expected, row, seen = [], 0, 0
    for rows, count in zip(queries, keys, strict=True):
        q = query[row : row + rows].transpose(0, 1).float()
        k, v = (
            one[seen : seen + count].transpose(0, 1).repeat_interleave(2, 0).float()
            for one in (key, value)
        )
        mask = torch.ones(rows, count, dtype=torch.bool, device=device).tril(count - rows)
        one = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        expected.append(one.transpose(0, 1))
        row, seen = row + rows, seen + count
    return float((found.float() - torch.cat(expected)).abs().max())


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
    output: Tensor = torch.ops.aten._flash_attention_forward(
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
