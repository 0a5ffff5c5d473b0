"""The judge with the heads that only training has, and the losses of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    Qwen2Tokenizer,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from demo.data.scenes.split import KINDS
from demo.training.collate import IGNORED, Batch
from demo.training.recipe import CELLS, MERGE, PATCH, SIDE, JudgeSize

BINS = 12
"""Steps of x and of y in which heads tell where a named figure is, and how far from another."""

_POINTING = 2
"""The layer after which a noun must have found its figure; its place one layer on."""

WHOLE_PICTURES = "repick_flash_whole_pictures"
"""The library hands all pictures over in one piece to functions with "flash" in their name."""

WEIGHTS: Mapping[str, float] = {
    "answer": 1.0,
    "truth": 2.0,
    "point": 1.0,
    "place": 0.5,
    "offset": 0.5,
    "cell_class": 0.5,
    "cell_place": 0.5,
}


def build_judge(size: JudgeSize, tokenizer: Qwen2Tokenizer) -> Any:
    """A Qwen3VLForConditionalGeneration of that size with random weights of torch's state.

    Its position embeddings are larger than usual: they are what ties a feature to a place.
    """
    token = tokenizer.get_vocab()
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": -(-len(tokenizer) // 64) * 64,
            "hidden_size": size.width,
            "intermediate_size": size.ffn,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.key_value_heads,
            "head_dim": size.head_size,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": _sections(size.head_size),
                "mrope_interleaved": True,
            },
            "bos_token_id": token["<|endoftext|>"],
            "eos_token_id": token["<|im_end|>"],
            "pad_token_id": token["<|endoftext|>"],
        },
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_width,
            "intermediate_size": size.vision_ffn,
            "num_heads": size.vision_heads,
            "out_hidden_size": size.width,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "deepstack_visual_indexes": list(size.deepstack),
            "num_position_embeddings": (SIDE // PATCH) ** 2,
        },
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model: Any = Qwen3VLForConditionalGeneration(config)
    nn.init.normal_(model.model.visual.pos_embed.weight, std=0.3)
    AttentionInterface.register(WHOLE_PICTURES, picture_attention)
    model.set_attn_implementation({"vision_config": WHOLE_PICTURES})
    return model


def picture_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention within each picture of SIDE pixels: (1, N, H, d) of all pictures' (1, H, N, d).

    One call for all, where the library would make one for each picture.
    """
    del module, attention_mask, kwargs
    heads, patches = query.shape[1], (SIDE // PATCH) ** 2
    q, k, v = (
        part[0].reshape(heads, -1, patches, part.shape[-1]).transpose(0, 1)
        for part in (query, key, value)
    )  # (P, H, patches, d)
    found = F.scaled_dot_product_attention(q, k, v, scale=scaling)
    return found.transpose(1, 2).flatten(0, 1)[None], None


def _sections(head_size: int) -> list[int]:
    """How the rotary half is shared by time, height and width: as in Qwen3-VL, time a bit more."""
    side = head_size // 2 * 5 // 16
    return [head_size // 2 - 2 * side, side, side]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a batch: the loss to go down, its parts, and for each row whether its answer is right."""

    loss: Tensor
    parts: Mapping[str, Tensor]
    right: Tensor


class JudgeTrainer(nn.Module):
    """The model as `model`, and the heads, which are left behind when it is saved."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        width, cells = model.config.text_config.hidden_size, CELLS * CELLS
        layers = model.config.text_config.num_hidden_layers
        self.point_layer, self.place_layer = _POINTING, _POINTING + 1
        self.offset_layer, self.truth_layer = layers - 3, layers - 2
        self.truth = nn.Linear(width, 1)
        self.seek, self.offer = nn.Linear(width, 64), nn.Linear(width, 64)
        self.place = nn.Linear(width, 2 * BINS)
        self.offset = nn.Linear(width, 2 * BINS)
        self.cell_class = nn.Linear(width, 1 + len(KINDS))
        self.cell_place = nn.Linear(width, cells)

    def forward(self, batch: Batch) -> Outcome:
        cells, hidden, inner = self._hidden(batch)
        answer, right = self._answers(batch, hidden)
        parts = {
            "answer": answer,
            "truth": self._truth(batch, inner[self.truth_layer]),
            "point": self._point(batch, inner[self.point_layer]),
            "place": self._place(batch, inner[self.place_layer]),
            "offset": self._offset(batch, inner[self.offset_layer]),
            **self._cells(batch, cells),
        }
        loss = torch.stack([WEIGHTS[name] * part for name, part in parts.items()]).sum()
        return Outcome(loss, {name: part.detach() for name, part in parts.items()}, right)

    def _hidden(self, batch: Batch) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Visual tokens (P, N, D), last hidden states (S, T, D), and those of layers within.

        Each picture goes through the tower once, however many rows look at it.
        """
        side = SIDE // PATCH
        pictures = len(batch.classes)
        grids = torch.tensor([[1, side, side]] * pictures, device=batch.ids.device)
        seen = self.model.model.get_image_features(batch.patches, image_grid_thw=grids)
        cells = torch.stack(tuple(seen.pooler_output))  # (P, N, D)
        output: Any = BaseModelOutputWithPooling(pooler_output=self._spread(cells, batch))
        output.deepstack_features = [
            self._spread(torch.stack(tuple(level)), batch) for level in seen.deepstack_features
        ]
        with self._tapped() as inner:
            hidden = self.model.model(
                input_ids=batch.ids,
                attention_mask=batch.visible,
                position_ids=batch.positions,
                mm_encoder_outputs={"image": output},
                use_cache=False,
            ).last_hidden_state
        return cells, hidden, inner

    @staticmethod
    def _spread(cells: Tensor, batch: Batch) -> Any:
        """Visual tokens (P, N, D) as all sequences need them, in their placeholders' order."""
        return (cells[batch.pictures].flatten(0, 1),)

    @contextmanager
    def _tapped(self) -> Iterator[dict[int, Tensor]]:
        """Hidden states (S, T, D) after the layers that heads look at, once a pass was made."""
        inner: dict[int, Tensor] = {}
        layers = self.model.model.language_model.layers

        def keep(number: int) -> Any:
            return lambda _module, _args, output: inner.__setitem__(number, output)

        numbers = {self.point_layer, self.place_layer, self.offset_layer, self.truth_layer}
        handles = [layers[number].register_forward_hook(keep(number)) for number in numbers]
        try:
            yield inner
        finally:
            for handle in handles:
                handle.remove()

    def _answers(self, batch: Batch, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy, each row's tokens together weighing as much as another's one token."""
        sequence, at, token, row = batch.answers.unbind(1)
        logits = self.model.lm_head(hidden[sequence, at]).float()
        each = F.cross_entropy(logits, token, reduction="none")
        rows = len(batch.graded)
        tokens = torch.bincount(row, minlength=rows).clamp(min=1)
        wrong = torch.zeros(rows, device=each.device)
        wrong.index_add_(0, row, (logits.argmax(1) != token).float())
        return (each / tokens[row]).sum() / rows, wrong == 0

    def _truth(self, batch: Batch, hidden: Tensor) -> Tensor:
        sequence, at, true = batch.truths.unbind(1)
        return _mean(self.truth(hidden[sequence, at])[:, 0].float(), true, _binary)

    def _point(self, batch: Batch, hidden: Tensor) -> Tensor:
        """At a noun: attention to the cells of the figure that it means."""
        sequence, at, picture, figure, _ = batch.points.unbind(1)
        token = self.model.config.image_token_id
        first = (batch.ids == token).int().argmax(1)  # (S,)
        cells = first[sequence, None] + torch.arange(CELLS * CELLS, device=at.device)  # (C, N)
        sought = self.seek(hidden[sequence, at])
        offered = self.offer(hidden[sequence[:, None], cells])
        logits = (
            torch.einsum("cd,cnd->cn", sought.float(), offered.float()) / sought.shape[-1] ** 0.5
        )
        wanted = batch.cover[picture, figure]
        share = wanted / wanted.sum(1, keepdim=True).clamp(min=1e-6)
        return _mean(logits, share, F.cross_entropy)

    def _place(self, batch: Batch, hidden: Tensor) -> Tensor:
        """At a noun: in which column and row of BINS its figure's centre is."""
        sequence, at, picture, figure, _ = batch.points.unbind(1)
        logits = self.place(hidden[sequence, at]).float().reshape(-1, BINS)
        return _mean(logits, _bins(batch.centres[picture, figure]), F.cross_entropy)

    def _offset(self, batch: Batch, hidden: Tensor) -> Tensor:
        """At a second noun of a row: how far its figure is from the one named before, in BINS."""
        sequence, at, picture, figure, row = batch.points.unbind(1)
        second = 1 + (row[1:] == row[:-1]).nonzero()[:, 0]
        centres = batch.centres[picture, figure]
        apart = (centres[second] - centres[second - 1] + 1) / 2
        logits = self.offset(hidden[sequence[second], at[second]]).float().reshape(-1, BINS)
        return _mean(logits, _bins(apart), F.cross_entropy)

    def _cells(self, batch: Batch, cells: Tensor) -> dict[str, Tensor]:
        """What each visual token shows, and which one it is."""
        logits = self.cell_class(cells).float().flatten(0, 1)
        known = batch.classes.flatten() != IGNORED
        places = torch.arange(CELLS * CELLS, device=cells.device).repeat(len(cells))
        where = F.cross_entropy(self.cell_place(cells).float().flatten(0, 1), places)
        return {
            "cell_class": _mean(logits[known], batch.classes.flatten()[known], F.cross_entropy),
            "cell_place": where,
        }


def _bins(shares: Tensor) -> Tensor:
    """Of values from 0 to 1, the number of their BIN, flat."""
    return (shares * BINS).long().clamp(0, BINS - 1).reshape(-1)


def _binary(logits: Tensor, true: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, true.float())


def _mean(logits: Tensor, target: Tensor, loss: Any) -> Tensor:
    """The mean loss, and zero (not NaN) where a batch asks nothing of the kind."""
    value: Tensor = loss(logits, target) if len(logits) else logits.sum()
    return value
