"""Small byte-level BPE tokenizers of the real classes, learned on the spot from a page of words.

Their layout is the real one: bytes, then merges, then special tokens; so any text can be written,
and the tokens that the families treat specially are there to be treated specially.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from transformers import CLIPTokenizer, Qwen2Tokenizer

LABELS = "A B Yes No True False Right Wrong 0 1 2 3 4"
TEXT = """
You are a helpful assistant. Query: Candidate: Instruction: Which is true?
The candidate fully matches the query. The candidate does not match the query, or only in part.
Does the candidate match the query? Answer Yes or No. Answer True or False. Answer A or B.
Answer Right or Wrong. How well does the candidate match the query, from 0 (not at all) to 4
(fully)? Answer with one digit. a photo of the picture shows a drawing of an image with
a small large red green blue yellow purple orange black white pink brown grey circle square
triangle star cross ring diamond is to the left of the right of above below inside between next to
on a plain light dark background and in front of a cup of coffee on a wooden table, a cat's face
with green eyes, an astronaut in an orange suit, a man with a camera, a rocket on its launch pad at
night, brick wall, grass, gravel, many galaxies in deep space, find the same scene but with
"""
END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|im_end|>"
QWEN_NAMES = (
    "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start "
    "quad_end vision_start vision_end vision_pad image_pad video_pad"
)
QWEN_SPECIAL = [f"<|{name}|>" for name in QWEN_NAMES.split()]
QWEN_ADDED = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]
"""Added tokens that the real tokenizer does not call special, yet still finds in any text."""

QWEN_CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def clip_tokenizer(texts: Sequence[str] = (), merges: int = 300) -> CLIPTokenizer:
    """As CLIP's: words end in `</w>`, lower case, 77 tokens, the end token has the highest id.

    It is learned from TEXT and `texts`.
    """
    learned = _learn_merges(CLIPTokenizer().backend_tokenizer, texts, suffix="</w>", count=merges)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, learned)]
    tokens = [*words, "<|startoftext|>", END_OF_TEXT]
    return CLIPTokenizer(
        vocab=_numbered(tokens),
        merges=learned,  # type: ignore[arg-type]  # its annotation says list[str]; it takes pairs
        model_max_length=77,
    )


def qwen_tokenizer(texts: Sequence[str] = (), merges: int = 500) -> Qwen2Tokenizer:
    """As Qwen2.5-VL's: the same splitting, special and added tokens, and chat template.

    It is learned from TEXT and `texts`.
    """
    learned = _learn_merges(Qwen2Tokenizer().backend_tokenizer, texts, suffix="", count=merges)
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, learned)]
    tokenizer = Qwen2Tokenizer(
        vocab=_numbered([*tokens, *QWEN_SPECIAL]),
        merges=learned,  # type: ignore[arg-type]
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        extra_special_tokens=QWEN_SPECIAL[1:],
        model_max_length=32768,
        chat_template=QWEN_CHAT_TEMPLATE,
    )
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in QWEN_ADDED])
    return tokenizer


def _numbered(tokens: list[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def _learn_merges(
    family: Tokenizer, texts: Sequence[str], *, suffix: str, count: int
) -> list[tuple[str, str]]:
    """Merges in the order learned, with the family's own normalising and splitting.

    Written out because the library's trainer breaks ties by the order of a hash map.
    """
    words = _words(family, texts, suffix)
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = {_merged(word, best): times for word, times in words.items()}
    return merges


def _words(family: Tokenizer, texts: Sequence[str], suffix: str) -> dict[tuple[str, ...], int]:
    """How often each word occurs, as its bytes' letters, the last one with the suffix."""
    words: Counter[tuple[str, ...]] = Counter()
    for text in [TEXT, *texts, *_labels()]:
        normal = family.normalizer.normalize_str(text) if family.normalizer else text
        for word, _ in family.pre_tokenizer.pre_tokenize_str(normal):
            words[(*word[:-1], word[-1] + suffix)] += 1
    return dict(words)


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


def _labels() -> list[str]:
    """Every label in each case, alone and after a space, often enough to become one token."""
    forms = {form for word in LABELS.split() for form in (word, word.lower(), word.upper())}
    return [text for form in sorted(forms) for text in [form, f"x {form}"] * 50]
