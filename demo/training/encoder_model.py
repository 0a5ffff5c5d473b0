"""The encoder, and the contrastive losses of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from demo.data.scenes.split import KINDS
from demo.training.encoder_batches import EncoderBatch
from demo.training.encoder_labels import UNCLEAR
from demo.training.recipe import SIDE, EncoderSize

IMAGE_WEIGHT = 0.8
"""Of a query's image against its text, as the service mixes them (METHOD §1)."""

SHARPEST = 100.0

RARE = 10.0
"""How much more weighs what is rare: a kind that occurs, of 56, and a figure's cell."""

NAMED = 3.0
"""The weight of the losses of naming against those of contrast."""


def build_encoder(size: EncoderSize, tokenizer: CLIPTokenizer) -> Any:
    """A CLIPModel of that size with random weights of torch's state."""
    tower = {
        "hidden_size": size.width,
        "intermediate_size": 4 * size.width,
        "num_attention_heads": size.heads,
        "projection_dim": size.projection,
    }
    config = CLIPConfig(
        text_config={
            **tower,
            "num_hidden_layers": size.text_layers,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 77,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            **tower,
            "num_hidden_layers": size.layers,
            "image_size": SIDE,
            "patch_size": size.patch,
        },
        projection_dim=size.projection,
    )
    return CLIPModel(config)


@dataclass(frozen=True, slots=True)
class Contrast:
    """The loss to go down, its parts, and how often the right one was the nearest."""

    loss: Tensor
    parts: Mapping[str, Tensor]
    hits: Mapping[str, Tensor]


class EncoderTrainer(nn.Module):
    """The model as `model`, its losses, and two heads that only training has.

    One names the kind of figure in each cell of a scene's picture; the other reads all kinds off a
    vector, alike for pictures and texts, so that both write them in the same way.
    """

    rare: Tensor
    by_cell: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.cell = nn.Linear(model.config.vision_config.hidden_size, len(KINDS) + 1)
        self.kinds = nn.Linear(model.config.projection_dim, len(KINDS))
        self.register_buffer("rare", torch.tensor(RARE))
        self.register_buffer("by_cell", torch.tensor([1.0] * len(KINDS) + [1 / RARE]))

    def forward(self, batch: EncoderBatch) -> Contrast:
        seen = self.model.get_image_features(pixel_values=batch.pixels)
        read = self.model.get_text_features(input_ids=batch.ids, attention_mask=batch.mask)
        images, texts = _unit(seen.pooler_output), _unit(read.pooler_output)
        scale = self.model.logit_scale.exp().clamp(max=SHARPEST)
        parts, hits = {}, {}
        for name, (logits, target) in _contrasts(batch, images, texts).items():
            if len(target):
                parts[name] = F.cross_entropy(scale * logits, target)
                hits[name] = (logits.argmax(1) == target).float().mean().detach()
        for name, (part, hit) in self._named(batch, seen, read).items():
            parts[name], hits[name] = NAMED * part, hit.detach()
        loss = torch.stack(list(parts.values())).sum()
        return Contrast(loss, {name: part.detach() for name, part in parts.items()}, hits)

    def _named(self, batch: EncoderBatch, seen: Any, read: Any) -> dict[str, tuple[Tensor, Tensor]]:
        """Losses and hits of the heads; nothing where the batch has no scene."""
        if not len(batch.scenes):
            return {}
        cells = self.cell(seen.last_hidden_state[batch.scenes, 1:])  # (S, cells, kinds + 1)
        figures = (batch.cells != UNCLEAR) & (batch.cells < len(KINDS))
        return {
            "cells": (
                F.cross_entropy(
                    cells.flatten(0, 1), batch.cells.flatten(), self.by_cell, ignore_index=UNCLEAR
                ),
                (cells.argmax(-1) == batch.cells)[figures].float().mean(),
            ),
            "shown": self._kinds(seen.pooler_output[batch.scenes], batch.shown),
            "told": self._kinds(read.pooler_output[batch.captions], batch.told),
        }

    def _kinds(self, vectors: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and how often exactly the marked kinds have the largest logits."""
        logits = self.kinds(vectors)
        loss = F.binary_cross_entropy_with_logits(logits, marks, pos_weight=self.rare)
        least = logits.masked_fill(marks == 0, torch.inf).amin(1)
        most = logits.masked_fill(marks == 1, -torch.inf).amax(1)
        return loss, (least > most).float().mean()


def _contrasts(
    batch: EncoderBatch, images: Tensor, texts: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Cosines and the column of the right one: for pairs, styles and edits."""
    seen, told = images[batch.pairs[:, 0]], batch.pairs[:, 1]
    first, second = images[batch.styles[:, 0]], images[batch.styles[:, 1]]
    reference, text, target, wrong = batch.edits.unbind(1)
    asked = _unit(IMAGE_WEIGHT * images[reference] + (1 - IMAGE_WEIGHT) * texts[text])
    offered = torch.cat([images[target], images[wrong], images[reference]])
    return {
        "image_to_text": (seen @ texts.T, told),
        "text_to_image": (texts[told] @ seen.T, _diagonal(told)),
        "style": (first @ second.T, _diagonal(first)),
        "style_back": (second @ first.T, _diagonal(first)),
        "edit": (asked @ offered.T, _diagonal(asked)),
    }


def _diagonal(rows: Tensor) -> Tensor:
    return torch.arange(len(rows), device=rows.device)


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.float(), dim=-1)
