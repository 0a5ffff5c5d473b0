"""The tokenizers of the trained models: of the real classes, learned from what they will read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, CLIPTokenizer, Qwen2Tokenizer

from demo.data.emoji import load_catalogue
from demo.data.scenes import TEMPLATES, Edit, Split, compose, describe, sample_scene, write
from demo.data.scenes.world import COLOURS, RELATIONS, SHAPES, SIZES
from demo.tokenizers import clip_tokenizer, qwen_tokenizer
from worker.fine.prompts import QUESTIONS

_SCENES = 400
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Qwen3-VL's: no system turn unless one is given."""

LOOK_UP_WORDS = (
    "where is the what is what colour is what shape is how large is how many figures are there? "
    "how does the stand to the top left top right bottom left bottom right middle top bottom "
    "left right above below what does the picture show?"
)
ANSWERS = "\n".join([*COLOURS, *SHAPES, *SIZES, *RELATIONS, "top", "bottom", "middle", "a an"])
"""Each at the start of a line: as an answer begins, without a space before it."""

FRAME_WORDS = "user\nassistant\nCandidate: a Query: a\nInstruction: "


def judge_tokenizer(merges: int, *, emoji: bool) -> Qwen2Tokenizer:
    """Qwen's tokenizer with so many merges, learned from prompts, captions and emoji names."""
    questions = [question for each in QUESTIONS.values() for question in each]
    texts = [*[*questions, LOOK_UP_WORDS, FRAME_WORDS, ANSWERS] * 20, *_texts(emoji)]
    tokenizer = qwen_tokenizer(texts, merges)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def encoder_tokenizer(merges: int, *, emoji: bool) -> CLIPTokenizer:
    """CLIP's tokenizer with so many merges, learned from captions and emoji names."""
    return clip_tokenizer(list(_texts(emoji)), merges)


def of_run(folder: Path, begin_with: Path | None, make: Callable[[], Any]) -> Any:
    """The tokenizer of a run: that of the model it begins with, or one made once and kept in
    `folder`, since a resumed run must not depend on what the texts have become.

    Raises ValueError where `begin_with` has none.
    """
    saved: Any = begin_with or folder / "tokenizer"
    if not begin_with and not (saved / "tokenizer.json").exists():
        make().save_pretrained(saved)
    auto: Any = AutoTokenizer
    return auto.from_pretrained(saved, local_files_only=True)


def _texts(emoji: bool) -> Iterator[str]:
    """What training says; nothing of the held-out emoji, whose names are read byte by byte."""
    rng = random.Random(0)
    for _ in range(_SCENES):
        scene = sample_scene(rng, rng.randint(2, 3), Split.TRAIN)
        yield f" {write(describe(scene, rng), rng.randrange(len(TEMPLATES))).text}"
        composed = compose(scene, rng.choice(list(Edit)), rng, Split.TRAIN)
        if composed:
            yield f" {composed.text}"
    if emoji:
        for one in load_catalogue():
            if not one.held_out:
                yield f" {one.name} {', '.join(one.keywords)}"
