"""The checkpoint's tokenizer: text from outside as plain text, and the frame around a turn."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from repick.errors import ContentError, ModelError
from worker.checkpoints import read_json
from worker.fine.lru import ByteLRU

_CACHE_BYTES = 16 * 1024 * 1024
_BYTES_PER_TOKEN = 40


class PlainTokenizer:
    """Tokenises text in which no special or added token of the model can occur.

    Remembers the texts used last: a query meets all documents of its job. Thread-safe.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        state = json.loads(tokenizer.to_str())
        self._added = frozenset(token["id"] for token in state["added_tokens"])
        state |= {"added_tokens": [], "truncation": None, "padding": None}
        self._tokenizer = Tokenizer.from_str(json.dumps(state))
        self._known: ByteLRU[str, tuple[int, ...]] = ByteLRU(
            _CACHE_BYTES, lambda ids: _BYTES_PER_TOKEN * len(ids)
        )

    def cut(self, text: str, tokens: int) -> str:
        """The text up to the end of its first `tokens` tokens."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return text[: offsets[tokens - 1][1]] if 0 < tokens <= len(offsets) else ""

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`; ContentError where one of them would be an added token."""
        known = self._known.get(text)
        if known is not None:
            return known
        ids = tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)
        if not self._added.isdisjoint(ids):
            raise ContentError("unsupported", "the text cannot be told from a control token")
        self._known.put(text, ids)
        return ids


@dataclass(frozen=True, slots=True)
class Frame:
    """What a chat template puts around a user's text, as written and as token ids."""

    head: str
    tail: str
    head_ids: tuple[int, ...]
    tail_ids: tuple[int, ...]


SENTINEL = "repick-user-turn"
_OPEN_THOUGHT = re.compile(r"<(think|thinking)>(?!.*</\1>)", re.DOTALL)


def read_frame(tokenizer: Any, folder: Path) -> Frame:
    """Render the checkpoint's chat template once, ready for an answer, and cut the user's text out.

    A template that can leave out its model's thoughts is asked to. Raises ModelError where there
    is no template, it does not keep the text in one piece, or what it ends in is no place for an
    answer: a finished turn, or a thought.
    """
    template = _template(tokenizer, folder)
    ready, finished = (
        _rendered(tokenizer, template, folder, add_generation_prompt=ready)
        for ready in (True, False)
    )
    parts = ready.split(SENTINEL)
    if len(parts) != 2:
        raise ModelError(f"the chat template of {folder.name} does not keep a user's text as it is")
    if ready == finished:
        raise ModelError(
            f"the chat template of {folder.name} has no generation prompt, so that nothing asks "
            "for an answer: give it the template of the model that it was made from"
        )
    if _OPEN_THOUGHT.search(parts[1]):
        raise ModelError(
            f"{folder.name} thinks before it answers, and its chat template cannot be told not to "
            "(enable_thinking): use the Instruct edition of the model"
        )
    ids = [tuple(tokenizer(part, add_special_tokens=False)["input_ids"]) for part in parts]
    return Frame(parts[0], parts[1], ids[0], ids[1])


def _rendered(tokenizer: Any, template: str, folder: Path, *, add_generation_prompt: bool) -> str:
    """A lone user's turn; the setting's name is Qwen's, and templates without it ignore it."""
    try:
        text: str = tokenizer.apply_chat_template(
            [{"role": "user", "content": SENTINEL}],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=False,
        )
    except Exception as exc:  # a template is a program
        raise ModelError(
            f"the chat template of {folder.name} fails on a user's turn by itself: {exc}; a scorer "
            "asks in one such turn: give it a template that takes one"
        ) from exc
    return text


def _template(tokenizer: Any, folder: Path) -> str:
    """The tokenizer's template, or the one that older checkpoints keep for their processor."""
    template, legacy = tokenizer.chat_template, folder / "chat_template.json"
    if not template and legacy.exists():
        template = read_json(legacy).get("chat_template")
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str) or not template:
        raise ModelError(f"{folder.name} has no chat template: it is not a chat model")
    return template
