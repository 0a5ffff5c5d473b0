"""The plain path: a right-padded batch through the library's own forward pass.

It is the twin that the fast path must equal, and what enhancement at all positions takes, where
a prefix cannot be shared. Causal attention never looks at what stands behind it, so padding and
neighbours change no score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from repick.specs import Enhancement
from worker.fine.enhancement import Enhancer, Firing, enhanced
from worker.fine.families.base import Family, VisualTokens
from worker.fine.prompts import ImageSegment, Prompt


def plain_rows(
    family: Family,
    enhancer: Enhancer,
    prompts: Sequence[Prompt],
    visual: Mapping[ImageSegment, VisualTokens],
    setting: Enhancement | None,
) -> tuple[Tensor, Firing | None]:
    """Final normed hidden states (B, D) at each prompt's last position, and what fired."""
    device = family.decoder.head.device
    ids, positions = _pad(family, prompts)
    last = torch.tensor([prompt.length - 1 for prompt in prompts], device=device)
    at = (torch.arange(len(prompts), device=device), last)
    seen = [[visual[image].tokens for image in prompt.images] for prompt in prompts]
    in_order = [visual[image] for prompt in prompts for image in prompt.images]
    with enhanced(enhancer, setting, at, seen) as firing:
        hidden = family.hidden_states(ids.to(device), positions.to(device), in_order)  # (B, T, D)
    return hidden[at], firing


def _pad(family: Family, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """Right-padded ids (B, T) and positions (3, B, T)."""
    width = max(prompt.length for prompt in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    positions = torch.zeros(3, len(prompts), width, dtype=torch.long)
    for no, prompt in enumerate(prompts):
        ids[no, : prompt.length] = torch.tensor(prompt.token_ids(family.image_token_id))
        positions[:, no, : prompt.length] = family.positions(prompt.segments)[0]
    return ids, positions
