"""Tiny random SigLIP and SigLIP 2 checkpoints of the real classes, with their real tokenizers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from transformers import (
    Siglip2Config,
    Siglip2Model,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipModel,
    SiglipTokenizer,
)

CONTEXT = 64
_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_SENTENCES = ["a red circle left of a blue square", "the cat sat on the mat", "hello world, who?"]
_GREY = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def make_siglip(folder: Path) -> None:
    """SigLIP: SentencePiece, an end token that also pads, pictures of one size."""
    import sentencepiece

    pieces = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 20),
        model_writer=pieces,
        vocab_size=64,
        hard_vocab_limit=False,
        bos_id=-1,
        eos_id=1,
        unk_id=2,
        pad_id=0,
        minloglevel=2,
    )
    folder.mkdir()
    (folder / "spiece.model").write_bytes(pieces.getvalue())
    SiglipTokenizer(str(folder / "spiece.model")).save_pretrained(folder)
    config = SiglipConfig(
        text_config={**_TOWER, "vocab_size": 100, "max_position_embeddings": CONTEXT},
        vision_config={**_TOWER, "image_size": 32, "patch_size": 16},
    )
    torch.manual_seed(0)
    SiglipModel(config).save_pretrained(folder)
    images = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps({**images, **_GREY}))


def make_siglip2(folder: Path) -> None:
    """SigLIP 2 with native aspect ratios: patches in a row, padded, with a mask."""
    letters = [*(f"<0x{byte:02X}>" for byte in range(256)), *"abcdefghijklmnopqrstuvwxyz▁"]
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *letters]
    folder.mkdir()
    Siglip2Tokenizer(
        vocab={token: no for no, token in enumerate(tokens)},
        merges=[],
        padding_side="right",
        add_bos_token=False,
        add_eos_token=True,
    ).save_pretrained(folder)
    config = Siglip2Config(
        text_config={**_TOWER, "vocab_size": len(tokens), "max_position_embeddings": CONTEXT},
        vision_config={**_TOWER, "num_patches": 16, "patch_size": 16},
    )
    torch.manual_seed(0)
    Siglip2Model(config).save_pretrained(folder)
    images = {"image_processor_type": "Siglip2ImageProcessor", "max_num_patches": 16}
    (folder / "preprocessor_config.json").write_text(json.dumps({**images, **_GREY}))
