"""Qwen2.5-VL, any size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, Qwen2_5_VLForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from repick.errors import ContentError, ModelError
from repick.specs import ImageLimits
from worker.fine.families.base import Decoder, GatedFFN, PreparedImage
from worker.fine.prompts import ImageSegment, Segment

MAX_ASPECT = 200
"""The image processor refuses what is longer than this many times its width."""


class Qwen25VL:
    """Adapter of `Qwen2_5_VLForConditionalGeneration`; see `Family` for its methods."""

    name = "qwen2_5_vl"

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, **local)
        images: Any = AutoImageProcessor
        self._processor = images.from_pretrained(folder, backend="pil", **local)
        self._model: Any = _load(folder, device, dtype)
        config = self._model.config
        self.image_token_id: int = config.image_token_id
        self.image_brackets: tuple[tuple[int, ...], tuple[int, ...]] = (
            (config.vision_start_token_id,),
            (config.vision_end_token_id,),
        )
        self._merge: int = config.vision_config.spatial_merge_size
        self._device = device
        self.decoder = _decoder(self._model)

    def prepare_image(self, image: Image.Image, key: bytes, limits: ImageLimits) -> PreparedImage:
        if max(image.size) > MAX_ASPECT * min(image.size):
            raise ContentError(
                "bad_dimensions", f"an image of {image.width}×{image.height} pixels is too long"
            )
        size = {"shortest_edge": limits.min_pixels, "longest_edge": limits.max_pixels}
        made = self._processor(images=[image], size=size, return_tensors="pt")
        t, h, w = made["image_grid_thw"][0].tolist()
        length = t * h * w // self._merge**2
        return PreparedImage(ImageSegment(key, (t, h, w), length), made["pixel_values"])

    def positions(self, segments: Sequence[Segment], start: int = 0) -> tuple[Tensor, int]:
        return mrope_positions(segments, start, self._merge)

    def encode_images(self, images: Sequence[PreparedImage]) -> list[Tensor]:
        pixels = torch.cat([image.pixels for image in images]).to(self._device)
        grids = torch.tensor([image.segment.grid for image in images], device=self._device)
        output = self._model.get_image_features(pixels, image_grid_thw=grids, return_dict=True)
        return list(output.pooler_output)

    def hidden_states(self, ids: Tensor, positions: Tensor, visual: Sequence[Tensor]) -> Tensor:
        pooled: Any = tuple(visual)  # this family takes a tuple of (n, D) there
        images = {"image": BaseModelOutputWithPooling(pooler_output=pooled)}
        output = self._model.model(
            input_ids=ids,
            position_ids=positions,
            mm_encoder_outputs=images if visual else None,
            use_cache=False,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden


def mrope_positions(
    segments: Sequence[Segment], start: int = 0, merge: int = 2
) -> tuple[Tensor, int]:
    """M-RoPE position ids (3, T) for time, height and width, and where the next segment starts.

    Text counts on in all three; an image spans its merged grid from one common start, and what
    follows it starts after its longer side (arXiv 2409.12191 §2.1).
    """
    parts, position = [], start
    for segment in segments:
        if isinstance(segment, ImageSegment):
            t, h, w = segment.grid[0], segment.grid[1] // merge, segment.grid[2] // merge
            axes = torch.meshgrid(*(torch.arange(n) for n in (t, h, w)), indexing="ij")
            parts.append(torch.stack(axes).reshape(3, -1) + position)
            position += max(h, w)
        else:
            parts.append(torch.arange(position, position + segment.length).expand(3, -1))
            position += segment.length
    return torch.cat(parts, dim=1), position


def _load(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The model in evaluation mode; ModelError where weights are missing or of another shape."""
    architecture: Any = Qwen2_5_VLForConditionalGeneration
    model, report = architecture.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=dtype,
        attn_implementation="sdpa",
        output_loading_info=True,
    )
    lacking = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lacking:
        raise ModelError(f"{folder.name} lacks {len(lacking)} weights, such as {lacking[0]}")
    return model.to(device).eval()


def _decoder(model: Any) -> Decoder:
    text = model.model.language_model
    ffns = (layer.mlp for layer in text.layers)
    return Decoder(
        layers=tuple(text.layers),
        ffns=tuple(GatedFFN(ffn, ffn.gate_proj.weight, ffn.act_fn) for ffn in ffns),
        final_norm=text.norm,
        head=model.get_output_embeddings().weight,
    )
