"""What the library's own model, tokenizer and image processor make of a pair."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from repick.content import LoadedContent
from repick.specs import ScorerSpec

Pair = tuple[LoadedContent, LoadedContent]
QUESTION = (
    "Which is true?\nA. The candidate fully matches the query.\n"
    "B. The candidate does not match the query, or only in part.\nAnswer A or B."
)


def turn(query: LoadedContent, document: LoadedContent) -> tuple[list[dict[str, str]], list[Any]]:
    """The user's turn of METHOD §2 as a chat message's parts, with its images in order."""
    named = [("Candidate", document), ("Query", query)]
    if query.image is not None:
        named.reverse()
    parts = [{"type": "text", "text": f"Instruction: {query.instruction}\n"}]
    parts = parts if query.instruction else []
    images = []
    for name, side in named:
        parts.append({"type": "text", "text": f"{name}: "})
        if side.image is not None:
            parts.append({"type": "image"})
            images.append(side.image)
        parts.append({"type": "text", "text": (side.text or "") + "\n"})
    parts.append({"type": "text", "text": QUESTION})
    return parts, images


def library_inputs(
    tokenizer: Any, spec: ScorerSpec, pair: Pair, patch_size: int = 14
) -> dict[str, torch.Tensor]:
    """What the family's processor would make of the turn: one string, tokenised at once."""
    parts, images = turn(*pair)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
    inputs: dict[str, torch.Tensor] = {}
    if images:
        processor = Qwen2VLImageProcessorPil(
            min_pixels=spec.images.min_pixels,
            max_pixels=spec.images.max_pixels,
            patch_size=patch_size,
        )
        inputs = dict(processor(images=images, return_tensors="pt"))
        before, *after = text.split("<|image_pad|>")
        for grid, rest in zip(inputs["image_grid_thw"].tolist(), after, strict=True):
            before += "<|image_pad|>" * (grid[0] * grid[1] * grid[2] // 4) + rest
        text = before
    inputs |= dict(tokenizer(text, return_tensors="pt"))
    image_token = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == image_token).int()
    return inputs


def library_margin(
    model: Any, tokenizer: Any, spec: ScorerSpec, pair: Pair, **inputs: torch.Tensor
) -> float:
    """The margin of a pair by itself; `inputs` take the place of those that the library makes."""
    patch_size = model.config.vision_config.patch_size
    made = library_inputs(tokenizer, spec, pair, patch_size) | inputs
    with torch.no_grad():
        logits = model(**made).logits[0, -1].double()
    vocabulary = tokenizer.get_vocab()
    label = [logits[[vocabulary[word], vocabulary[f"Ġ{word}"]]].logsumexp(0) for word in "AB"]
    return float(label[0] - label[1])
