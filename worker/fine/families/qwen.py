"""What Qwen2-VL, Qwen2.5-VL and Qwen3-VL have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from repick.errors import ContentError, ModelError
from repick.specs import ImageLimits
from worker.fine.attention import WINDOWS, register
from worker.fine.families.base import Decoder, GatedFFN, PreparedImage, VisualTokens
from worker.fine.families.fitting import (
    refuse_other_processor,
    refuse_other_tokenizer,
    refuse_rotation_by_length,
    refuse_sliding_windows,
)
from worker.fine.prompts import ImageSegment, Segment

MAX_ASPECT = 200
"""The image processor refuses what is longer than this many times its width."""


class QwenVL:
    """Adapter of a `Qwen…ForConditionalGeneration`; see `Family` for its methods."""

    name: str
    architecture: Any

    def __init__(self, model: Any, tokenizer: Any, processor: Any) -> None:
        """Take a loaded model; its attention becomes ours. ModelError for what it cannot do."""
        self.tokenizer, self._processor, self._model = tokenizer, processor, model
        config, text = model.config, model.config.text_config
        refuse_sliding_windows(text)
        refuse_rotation_by_length(text)
        use_ours(model)
        self.image_token_id: int = config.image_token_id
        self.image_brackets: tuple[tuple[int, ...], tuple[int, ...]] = (
            (config.vision_start_token_id,),
            (config.vision_end_token_id,),
        )
        width = text.hidden_size // text.num_attention_heads
        self.head_size: int = getattr(text, "head_dim", None) or width
        self._merge: int = config.vision_config.spatial_merge_size
        self._patch: int = config.vision_config.patch_size
        self.decoder = gated_decoder(model)
        self._device = self.decoder.head.device

    @classmethod
    def load(cls, folder: Path, device: torch.device, dtype: torch.dtype) -> Self:
        """From a checkpoint's folder; nothing is fetched, and no code of its own is run.

        ModelError where its parts do not fit each other.
        """
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **local)
        # By its class: the first Qwen2.5-VL checkpoints name one that the library does not know.
        images: Any = Qwen2VLImageProcessorPil
        processor = images.from_pretrained(folder, **local)
        model = load_model(cls.architecture, folder, device, dtype)
        refuse_other_processor(processor, model.config.vision_config)
        refuse_other_tokenizer(tokenizer, model)
        return cls(model, tokenizer, processor)

    def grid(self, image: Image.Image, limits: ImageLimits) -> tuple[int, int, int]:
        if max(image.size) > MAX_ASPECT * min(image.size):
            raise ContentError(
                "bad_dimensions", f"an image of {image.width}×{image.height} pixels is too long"
            )
        factor = self._patch * self._merge
        height, width = smart_resize(
            image.height, image.width, factor, limits.min_pixels, limits.max_pixels
        )
        return 1, height // self._patch, width // self._patch

    def visual_length(self, grid: tuple[int, int, int]) -> int:
        return grid[0] * grid[1] * grid[2] // self._merge**2

    def patches(self, image: Image.Image, limits: ImageLimits) -> Tensor:
        size = {"shortest_edge": limits.min_pixels, "longest_edge": limits.max_pixels}
        made = self._processor(images=[image], size=size, return_tensors="pt")
        pixels: Tensor = made["pixel_values"]
        return pixels

    def positions(self, segments: Sequence[Segment], start: int = 0) -> tuple[Tensor, int]:
        return mrope_positions(segments, start, self._merge)

    def encode_images(self, images: Sequence[PreparedImage]) -> list[VisualTokens]:
        pixels = torch.cat([image.pixels for image in images]).to(self._device)
        grids = torch.tensor([image.segment.grid for image in images], device=self._device)
        output = self._model.get_image_features(pixels, image_grid_thw=grids, return_dict=True)
        levels = getattr(output, "deepstack_features", None) or ()
        deep = zip(*levels, strict=True) if levels else [()] * len(images)
        return [
            VisualTokens(tokens, tuple(parts))
            for tokens, parts in zip(output.pooler_output, deep, strict=True)
        ]

    def embed(self, ids: Tensor) -> Tensor:
        hidden: Tensor = self._model.get_input_embeddings()(ids)
        return hidden

    def rotary(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self._model.model.language_model.rotary_emb(hidden, positions)
        return cos, sin

    def attend(
        self,
        layer: int,
        normed: Tensor,
        rotary: tuple[Tensor, Tensor],
        attention: Callable[[Tensor, Tensor, Tensor, float], Tensor],
        rows: Tensor | None = None,
    ) -> Tensor:
        block: Any = self._model.model.language_model.layers[layer].self_attn
        cos, sin = (part[0, :, None] for part in rotary)  # (N, 1, d)
        asking = normed if rows is None else normed[rows]
        query = block.q_proj(asking).view(len(asking), -1, self.head_size)
        key, value = (
            part(normed).view(len(normed), -1, self.head_size)
            for part in (block.k_proj, block.v_proj)
        )
        if hasattr(block, "q_norm"):  # Qwen3
            query, key = block.q_norm(query), block.k_norm(key)
        key = rotated(key, cos, sin)
        query = rotated(query, *((cos, sin) if rows is None else (cos[rows], sin[rows])))
        query, key, value = (part.transpose(0, 1) for part in (query, key, value))
        added: Tensor = block.o_proj(attention(query, key, value, block.scaling).flatten(1))
        return added

    def hidden_states(
        self, ids: Tensor, positions: Tensor, visual: Sequence[VisualTokens]
    ) -> Tensor:
        output = self._model.model(
            input_ids=ids,
            position_ids=positions,
            mm_encoder_outputs=encoder_outputs(visual) if visual else None,
            use_cache=False,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of (N, H, d) by cos and sin (N, 1, d): x·cos + (−x₂, x₁)·sin, in halves."""
    half = states.shape[-1] // 2
    output = states * cos
    output[..., :half].addcmul_(states[..., half:], sin[..., :half], value=-1)
    output[..., half:].addcmul_(states[..., :half], sin[..., half:])
    return output


def encoder_outputs(visual: Sequence[VisualTokens]) -> dict[str, Any]:
    """Visual tokens in the form in which the library's forward pass takes them."""
    pooled: Any = tuple(one.tokens for one in visual)  # these families take a tuple of (n, D)
    output: Any = BaseModelOutputWithPooling(pooler_output=pooled)
    output.deepstack_features = list(zip(*(one.deep for one in visual), strict=True))
    return {"image": output}


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
            parts.append(_grid_positions(t, h, w) + position)
            position += max(h, w)
        else:
            parts.append(torch.arange(position, position + segment.length).expand(3, -1))
            position += segment.length
    return torch.cat(parts, dim=1), position


@lru_cache(maxsize=256)
def _grid_positions(t: int, h: int, w: int) -> Tensor:
    axes = torch.meshgrid(*(torch.arange(n) for n in (t, h, w)), indexing="ij")
    return torch.stack(axes).reshape(3, -1)


def load_model(architecture: Any, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The model in evaluation mode; ModelError where weights are missing or of another shape."""
    model, report = architecture.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=dtype,
        attn_implementation="sdpa",
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, by name
    )
    lacking, other = sorted(report["missing_keys"]), sorted(report["mismatched_keys"])
    if lacking:
        raise ModelError(f"{folder.name} lacks {len(lacking)} weights, such as {lacking[0]}")
    if other:
        name, found, wanted = other[0]
        raise ModelError(
            f"{folder.name} has {len(other)} weights of another shape than config.json says, such "
            f"as {name}: {list(found)} for {list(wanted)}"
        )
    return model.to(device).eval()


class PatchProjection(nn.Module):
    """A vision tower's patch embedding as the matrix product that it is.

    Its convolution's stride is its kernel, so each patch is seen once; as a convolution it took
    a sixth of the tower's time. `replaced` is the library's module, whose weights these are.
    """

    def __init__(self, replaced: nn.Module) -> None:
        super().__init__()
        self.replaced = replaced

    def forward(self, patches: Tensor) -> Tensor:
        """(patches, D) of flattened patches (patches, values)."""
        projection: Any = self.replaced.proj
        weight = projection.weight.flatten(1)
        return F.linear(patches.to(weight.dtype), weight, projection.bias)


def use_ours(model: Any) -> None:
    """Give a model's vision tower our attention and patch projection, and its language SDPA."""
    register()
    model.set_attn_implementation({"text_config": "sdpa", "vision_config": WINDOWS})
    _activate(model, in_place=True)
    tower = model.model.visual
    if not isinstance(tower.patch_embed, PatchProjection):
        tower.patch_embed = PatchProjection(tower.patch_embed)


def use_the_librarys(model: Any) -> None:
    """Undo `use_ours`."""
    model.set_attn_implementation({"text_config": "sdpa", "vision_config": "sdpa"})
    _activate(model, in_place=False)
    tower = model.model.visual
    if isinstance(tower.patch_embed, PatchProjection):
        tower.patch_embed = tower.patch_embed.replaced


def _activate(model: Any, *, in_place: bool) -> None:
    """SiLU of a feed-forward network in its projection's own memory, which nothing else reads."""
    for layer in model.model.language_model.layers:
        if layer.mlp.config.hidden_act == "silu":
            layer.mlp.act_fn = nn.SiLU(inplace=in_place)


def gated_decoder(model: Any) -> Decoder:
    text = model.model.language_model
    ffns = (layer.mlp for layer in text.layers)
    return Decoder(
        layers=tuple(text.layers),
        entries=tuple(layer.input_layernorm for layer in text.layers),
        ffns=tuple(GatedFFN(ffn, ffn.gate_proj.weight, ffn.act_fn) for ffn in ffns),
        final_norm=text.norm,
        head=model.get_output_embeddings().weight,
    )
