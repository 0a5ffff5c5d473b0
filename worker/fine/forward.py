"""The language model over a packed batch, up to the rows that answer.

The layers are the library's own modules; what is ours is that they see one row without padding,
that attention is the pack's kernel, and that the last layer's feed-forward network and the final
norm run on the answering rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from worker.fine.families.base import Family, VisualTokens
from worker.fine.packing import Pack
from worker.fine.prompts import ImageSegment


def answer_rows(family: Family, pack: Pack, visual: Mapping[ImageSegment, VisualTokens]) -> Tensor:
    """Final normed hidden states (R, D) of a pack's answering rows."""
    seen = [visual[image] for image in pack.images]
    hidden = family.embed(pack.ids)  # (1, N, D)
    if seen:
        hidden[0, pack.image_rows] = torch.cat([one.tokens for one in seen]).to(hidden.dtype)
    given: dict[str, Any] = {
        "attention_mask": None,
        "position_embeddings": family.rotary(hidden, pack.positions),
        "kernel": pack.kernel,
    }
    *layers, last = family.decoder.layers
    deep = list(zip(*(one.deep for one in seen), strict=True))
    for no, layer in enumerate(layers):
        hidden = layer(hidden, **given)
        if no < len(deep):
            hidden[0, pack.image_rows] += torch.cat(deep[no])
    normed: Tensor = family.decoder.final_norm(_last_layer(last, hidden, pack, given))
    return normed[0]


def _last_layer(layer: Any, hidden: Tensor, pack: Pack, given: Mapping[str, Any]) -> Tensor:
    """The last layer's output (1, R, D) at the answering rows, of its input (1, N, D)."""
    attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden), **given)
    rows = (hidden + attended)[:, pack.answers]
    output: Tensor = rows + layer.mlp(layer.post_attention_layernorm(rows))
    return output
