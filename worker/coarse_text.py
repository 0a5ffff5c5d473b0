"""Texts of strangers as token ids for CLIP- and SigLIP-like text towers.

CLIP pools at the position of its end token, SigLIP at the last position. So a start or end token
that a text spells out must stay what it is, characters, and the tower's own start and end tokens
are set here, around at most as many content tokens as the context leaves room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from repick.errors import ModelError

CHARS_PER_TOKEN = 64
"""Characters read for each token of the context; beyond them no tokenizer of a tower looks."""


@dataclass(frozen=True, slots=True)
class TextRules:
    """How a family's text tower wants its tokens.

    `lower_case`: the text is lower-cased before it is split. `full_width`: every row is padded to
    the whole context and no attention mask is given, as in SigLIP's training; otherwise rows are
    padded on the right to the longest, with a mask. `pools_at_end`: at the end token (CLIP).
    """

    lower_case: bool
    full_width: bool
    pools_at_end: bool


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """A tokenizer with its family's rules and the tokens that it puts around every text."""

    tokenizer: Any
    rules: TextRules
    context: int
    start: tuple[int, ...]
    end: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Any, rules: TextRules, text_config: Any) -> TextEncoder:
        """Find the tokenizer's start and end tokens; ModelError where pooling would miss them."""
        start, end = _frame(tokenizer)
        # Configurations from before transformers 4.31 say 2 and pool at the highest id instead.
        if rules.pools_at_end and text_config.eos_token_id not in (2, *end):
            raise ModelError(
                f"the tower pools at token {text_config.eos_token_id}, which its tokenizer "
                f"does not put at the end of a text (it puts {list(end)})"
            )
        return cls(tokenizer, rules, text_config.max_position_embeddings, start, end)

    def __call__(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """`input_ids` (B, T), and `attention_mask` (B, T) where the family uses one."""
        rows = [self._row(ids) for ids in self._content_ids(texts)]
        width = self.context if self.rules.full_width else max(map(len, rows))
        inputs = {"input_ids": torch.tensor([self._padded(row, width) for row in rows])}
        if not self.rules.full_width:
            lengths = torch.tensor([[len(row)] for row in rows])
            inputs["attention_mask"] = (torch.arange(width) < lengths).long()
        return inputs

    def _content_ids(self, texts: Sequence[str]) -> list[list[int]]:
        limit = self.context * CHARS_PER_TOKEN
        cut = [text.lstrip()[:limit] for text in texts]
        lower = [text.lower() for text in cut] if self.rules.lower_case else cut
        ids: list[list[int]] = _plain_ids(self.tokenizer, lower)
        return ids

    def _row(self, ids: list[int]) -> list[int]:
        """Start, content, end; unknown characters that map to a frame token are left out."""
        frame = {*self.start, *self.end}
        room = self.context - len(self.start) - len(self.end)
        content = [token for token in ids if token not in frame][:room]
        return [*self.start, *content, *self.end]

    def _padded(self, row: list[int], width: int) -> list[int]:
        padding = [self.tokenizer.pad_token_id] * (width - len(row))
        left = self.rules.full_width and self.tokenizer.padding_side == "left"
        return padding + row if left else row + padding


def _plain_ids(tokenizer: Any, texts: list[str]) -> Any:
    """Ids of the texts alone, special tokens that they spell out read as characters."""
    return tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=True,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        verbose=False,
    )["input_ids"]


def _frame(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that the tokenizer puts before and after a text, found on a text of one letter."""
    [bare] = _plain_ids(tokenizer, ["a"])
    full = tokenizer(["a"], padding=False)["input_ids"][0]
    for first in range(len(full) - len(bare) + 1):
        if full[first : first + len(bare)] == bare:
            return tuple(full[:first]), tuple(full[first + len(bare) :])
    raise ModelError(f"cannot tell the frame of {type(tokenizer).__name__}: {bare} in {full}")
