"""The language model over a packed batch, up to the rows that answer.

The norms, projections and feed-forward networks are the library's own modules; what is ours is
that they see one row of tokens without padding, that attention is the pack's kernel, and that the
last layer's feed-forward network and the final norm run on the answering rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
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
    rotary = family.rotary(hidden, pack.positions)
    deep = list(zip(*(one.deep for one in seen), strict=True))
    last = len(family.decoder.layers) - 1
    for no, layer in enumerate(family.decoder.layers):
        part: Any = layer
        normed = part.input_layernorm(hidden)[0]
        rows = pack.answers if no == last else None  # nothing else of the last is ever read
        added = family.attend(no, normed, rotary, partial(pack.kernel.attend, no), rows)
        hidden = hidden if rows is None else hidden[:, rows]
        hidden += added
        hidden += part.mlp(part.post_attention_layernorm(hidden))
        if no < len(deep):
            hidden[0, pack.image_rows] += torch.cat(deep[no])
    output: Tensor = family.decoder.final_norm(hidden)[0]
    return output
