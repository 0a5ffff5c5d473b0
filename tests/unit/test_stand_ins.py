"""The demo's stand-ins load as any checkpoint does, and behave enough like real models."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from demo.drawn import scene_items
from demo.stand_ins import CLIP, QWEN, make_stand_ins
from demo.tokenizers import LABELS
from repick.content import LoadedContent
from worker.checkpoints import open_checkpoint
from worker.coarse import Encoder, Role


@pytest.fixture(scope="module")
def tokenizer(demo_models: Path) -> Any:
    return AutoTokenizer.from_pretrained(demo_models / QWEN, local_files_only=True)


@pytest.mark.parametrize("name", [CLIP, QWEN])
def test_a_stand_in_opens_as_an_untrained_checkpoint(demo_models: Path, name: str) -> None:
    checkpoint = open_checkpoint(str(demo_models / name))
    assert checkpoint.untrained
    assert checkpoint.name == name


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_a_second_call_touches_nothing(demo_models: Path) -> None:
    before = state(demo_models)
    make_stand_ins(demo_models)
    assert state(demo_models) == before


def test_half_a_model_and_an_older_one_are_made_anew_with_the_same_hashes(
    demo_models: Path, tmp_path: Path
) -> None:
    (tmp_path / CLIP).mkdir()
    (tmp_path / CLIP / "config.json").write_text("half a")
    (tmp_path / QWEN).mkdir()
    (tmp_path / QWEN / "repick.json").write_text('{"untrained": true, "recipe": 0}')
    make_stand_ins(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([CLIP, QWEN])
    for name in (CLIP, QWEN):
        made, first = (open_checkpoint(str(folder / name)) for folder in (tmp_path, demo_models))
        assert made.weights_sha256 == first.weights_sha256
        assert made.tokenizer_sha256 == first.tokenizer_sha256


@pytest.mark.parametrize("label", LABELS.split())
def test_a_label_is_one_token_in_every_case_alone_and_after_a_space(
    tokenizer: Any, label: str
) -> None:
    for form in {label, label.lower(), label.upper()}:
        assert len(tokenizer(form)["input_ids"]) == 1
        # As in the real tokenizer, a digit never shares its token with a space.
        expected = 2 if label.isdigit() else 1
        assert len(tokenizer(f" {form}")["input_ids"]) == expected


def test_any_text_comes_back_from_its_tokens(tokenizer: Any) -> None:
    text = "Ein  rotes Quadrat — 图像 🙂\n\tx"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_chat_template_places_the_image_where_the_real_one_does(tokenizer: Any) -> None:
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}
    prompt = tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    assert prompt == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n"
    )


def loaded(count: int) -> list[LoadedContent]:
    """The first pictures of the demo's scenes."""
    images = [item.image for item in scene_items()[:count] if item.image is not None]
    return [
        LoadedContent(no, None, Image.open(io.BytesIO(image)).convert("RGB"))
        for no, image in enumerate(images)
    ]


def test_cosines_of_the_coarse_stand_in_tell_pictures_apart(demo_models: Path) -> None:
    encoder = Encoder.load(open_checkpoint(str(demo_models / CLIP)), device="cpu", dtype="auto")
    vectors = encoder.encode(loaded(20), Role.DOCUMENT)
    [query] = encoder.encode([LoadedContent(0, "a red circle above a blue square")], Role.QUERY)
    cosines = vectors @ query
    assert cosines.std() > 0.03
    assert len({round(float(cosine), 4) for cosine in cosines}) > len(cosines) * 0.9


@pytest.fixture(scope="module")
def hidden(demo_models: Path, tokenizer: Any) -> tuple[Any, torch.Tensor]:
    """The fine stand-in and the last position's states (pairs, layers, width) of some pairs."""
    architecture: Any = Qwen2_5_VLForConditionalGeneration
    model = architecture.from_pretrained(demo_models / QWEN).eval()
    processors: Any = AutoImageProcessor
    processor = processors.from_pretrained(demo_models / QWEN, backend="pil")
    states = []
    for content in loaded(8):
        pixels = processor(images=[content.image], return_tensors="pt")
        pads = "<|image_pad|>" * (int(pixels["image_grid_thw"].prod()) // 4)
        for query in ("a red circle above a blue square", "a green star", "a cat"):
            prompt = (
                f"<|im_start|>user\nCandidate: <|vision_start|>{pads}<|vision_end|>\n"
                f"Query: {query}\nAnswer A or B.<|im_end|>\n<|im_start|>assistant\n"
            )
            ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
            kinds = (ids == model.config.image_token_id).int()
            with torch.no_grad():
                out = model(
                    input_ids=ids, mm_token_type_ids=kinds, output_hidden_states=True, **pixels
                )
            states.append(torch.stack([state[0, -1] for state in out.hidden_states[1:]]))
    return model, torch.stack(states)


def test_margins_of_the_fine_stand_in_spread_over_images_and_texts(
    hidden: tuple[Any, torch.Tensor], tokenizer: Any
) -> None:
    model, states = hidden
    yes, no = tokenizer.convert_tokens_to_ids(["A", "B"])
    logits = model.lm_head(states[:, -1])  # the last state is already normalised
    margins = (logits[:, yes] - logits[:, no]).reshape(8, 3)
    assert margins.std() >= 0.1
    assert margins.std(dim=0).min() >= 0.1
    assert margins.std(dim=1).mean() >= 0.1


def test_entropies_in_the_window_lie_on_both_sides_of_the_threshold(
    hidden: tuple[Any, torch.Tensor],
) -> None:
    model, states = hidden
    window = [no for no in range(8) if 5 / 28 < no / 8 < 16 / 28]
    normal = model.model.language_model.norm(states[:, window])
    chances = model.lm_head(normal).topk(10).values.softmax(-1)
    entropies = torch.special.entr(chances).sum(-1) / math.log(10)
    fires = (entropies > 0.75).any(dim=1).float().mean()
    assert 0.2 < fires < 0.95


def test_the_enhancement_window_of_the_fine_stand_in_is_not_empty(demo_models: Path) -> None:
    config = json.loads((demo_models / QWEN / "config.json").read_text())
    assert config["text_config"]["num_hidden_layers"] == 8
    assert config["model_type"] == "qwen2_5_vl"
