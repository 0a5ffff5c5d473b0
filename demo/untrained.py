"""What the stand-ins consist of: configurations, random weights, tokenizers, preprocessors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from demo.stand_ins import CLIP, QWEN
from demo.tokenizers import clip_tokenizer, qwen_tokenizer

Model = TypeVar("Model", bound=PreTrainedModel)

SEED = 21
SPREAD = 6.0
"""Times the usual scale of CLIP's first weights: at 1 the cosines of any two images are 0.97."""

SHARPNESS = 3.5
"""Times the vocabulary head: entropies then lie on both sides of the threshold of METHOD §3."""

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
CLIP_IMAGES = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 64},
    "crop_size": {"height": 64, "width": 64},
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "resample": 3,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
}
QWEN_IMAGES = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "min_pixels": 4 * 28 * 28,
    "max_pixels": 64 * 28 * 28,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
}


def _write_clip(folder: Path) -> None:
    tokenizer = clip_tokenizer()
    tower = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "projection_dim": 64,
        "initializer_factor": SPREAD,
    }
    config = CLIPConfig(
        text_config={
            **tower,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 77,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**tower, "image_size": 64, "patch_size": 16},
        projection_dim=64,
        initializer_factor=SPREAD,
    )
    _save(folder, _seeded(CLIPModel, config), CLIP_IMAGES)
    tokenizer.save_pretrained(folder)


def _write_qwen(folder: Path) -> None:
    tokenizer = qwen_tokenizer()
    token = tokenizer.get_vocab()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": -(-len(tokenizer) // 64) * 64,
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "max_window_layers": 8,
            "initializer_range": 0.15,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [2, 3, 3],
            },
            "bos_token_id": token["<|endoftext|>"],
            "eos_token_id": token["<|im_end|>"],
            "pad_token_id": token["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.15,
        },
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    model = _seeded(Qwen2_5_VLForConditionalGeneration, config)
    with torch.no_grad():
        model.lm_head.weight.mul_(SHARPNESS)
    _save(folder, model, QWEN_IMAGES)
    tokenizer.save_pretrained(folder)


def _seeded(model_class: type[Model], config: CLIPConfig | Qwen2_5_VLConfig) -> Model:
    """A model with the same random weights every time; the caller's random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return model_class(config)


def _save(folder: Path, model: PreTrainedModel, images: dict[str, object]) -> None:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(images, indent=2))
    for path in folder.iterdir():
        path.chmod(0o644)


WRITERS: Mapping[str, Callable[[Path], None]] = {CLIP: _write_clip, QWEN: _write_qwen}
