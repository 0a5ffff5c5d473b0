"""Tiny random models of each family's true classes, saved as checkpoints are.

Eight layers, so that the window of enhancement has three; weights so large that margins spread.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AddedToken,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
NOT_SPECIAL = ("<tool_call>", "</tool_call>")
WORDS = (
    "A B Yes No True False Right Wrong yes no true false right wrong YES NO TRUE FALSE RIGHT WRONG"
)
TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.15,
}
VISION: dict[str, Any] = {"depth": 2, "initializer_range": 0.15}
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}


def _rope(sections: list[int]) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections}


FAMILIES: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    "qwen2_vl": (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        {"rope_parameters": _rope([2, 3, 3])},
        {"embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2},
    ),
    "qwen2_5_vl": (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        {"rope_parameters": _rope([2, 3, 3])},
        SIZES | {"fullatt_block_indexes": [1]},
    ),
    "qwen3_vl": (
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        {"head_dim": 16, "rope_parameters": _rope([4, 2, 2]) | {"mrope_interleaved": True}},
        SIZES | {"depth": 3, "deepstack_visual_indexes": [0, 1, 2], "patch_size": 16},
    ),
}


def make_tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE in which the label words are single tokens; control tokens are added ones."""
    bare = Tokenizer(models.BPE())
    bare.normalizer = normalizers.NFC()
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    words = [form for word in WORDS.split() for form in (word, f" {word}")]
    bare.train_from_iterator([*words * 20, "Query: Candidate: the red circle\n"], trainer)
    state: Any = json.loads(bare.to_str())["model"]
    merges: Any = [tuple(pair) for pair in state["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=state["vocab"], merges=merges)
    tokenizer.add_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in NOT_SPECIAL])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(family: str, tokenizer: Qwen2Tokenizer, layers: int = 8) -> Any:
    ids = tokenizer.get_vocab()
    config_class, architecture, text, vision = FAMILIES[family]
    config = config_class(
        text_config=TEXT
        | text
        | {
            "vocab_size": len(tokenizer),
            "num_hidden_layers": layers,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config=VISION | vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    torch.manual_seed(7)
    return architecture(config).eval()


def patch_size(family: str) -> int:
    size: int = FAMILIES[family][3].get("patch_size", 14)
    return size


def save(family: str, folder: Path, layers: int = 8) -> None:
    """Model, tokenizer and image processor of a family in `folder`."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    make_model(family, tokenizer, layers).save_pretrained(folder)
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": patch_size(family),
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
