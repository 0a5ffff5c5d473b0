"""A tiny random Qwen2.5-VL of the true classes, saved as a checkpoint and loaded as any other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AddedToken,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
)

from repick.content import LoadedContent
from repick.specs import ImageLimits, Readout
from worker.checkpoints import Checkpoint
from worker.fine.scorer import FineModel

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
LIMITS = ImageLimits(min_pixels=6 * 28 * 28, max_pixels=16 * 28 * 28)


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


def make_model(tokenizer: Qwen2Tokenizer) -> Any:
    """Eight layers, so that the window of enhancement has three; weights spread the margins."""
    ids = tokenizer.get_vocab()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 3, 3],
            },
            "max_position_embeddings": 4096,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "initializer_range": 0.15,
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
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    torch.manual_seed(7)
    architecture: Any = Qwen2_5_VLForConditionalGeneration
    return architecture(config).eval()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-qwen2.5-vl")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    make_model(tokenizer).save_pretrained(folder)
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_folder: Path) -> Checkpoint:
    return Checkpoint(tiny_folder, "tiny", "0" * 64, "1" * 64, untrained=False)


@pytest.fixture(scope="session")
def fine_model(tiny_checkpoint: Checkpoint) -> FineModel:
    return FineModel.load(
        tiny_checkpoint, readouts=tuple(Readout), device="cpu", dtype="float32", images=LIMITS
    )


@pytest.fixture(scope="session")
def plain_model(tiny_folder: Path) -> Any:
    """The same weights in the library's own class, for references that share no code of ours."""
    architecture: Any = Qwen2_5_VLForConditionalGeneration
    return architecture.from_pretrained(tiny_folder).eval()


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path) -> Any:
    return Qwen2Tokenizer.from_pretrained(tiny_folder)


def draw(seed: int, width: int, height: int) -> Image.Image:
    """A picture of coloured rectangles, another for each seed."""
    values = hashlib.sha256(str(seed).encode()).digest()
    image = Image.new("RGB", (width, height), tuple(values[:3]))
    pen = ImageDraw.Draw(image)
    for no in range(3):
        x, y, *colour = values[3 + 5 * no : 8 + 5 * no]
        corner = (x * width // 512, y * height // 512)
        pen.rectangle((*corner, corner[0] + width // 3, corner[1] + height // 2), tuple(colour))
    return image


@pytest.fixture(scope="session")
def content() -> Callable[..., LoadedContent]:
    """Makes contents: `content("a text", picture=3, size=(90, 60), instruction=None)`."""

    def make(
        text: str | None = None,
        *,
        picture: int | None = None,
        size: tuple[int, int] = (90, 60),
        instruction: str | None = None,
    ) -> LoadedContent:
        image = None if picture is None else draw(picture, *size)
        if image is None:
            return LoadedContent(1, text, instruction=instruction)
        key = hashlib.sha256(image.tobytes() + repr(size).encode()).digest()
        return LoadedContent(1, text, image, key, instruction)

    return make
