"""Prompts as the service writes them, with the place of every word known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from demo.training.recipe import CELLS, MERGE
from repick.content import LoadedContent
from worker.fine.families.qwen import mrope_positions
from worker.fine.prompts import ImageSegment, PromptWriter, Segment, TextSegment, layout
from worker.fine.tokens import PlainTokenizer, read_frame

SEGMENT = ImageSegment(b"", (1, CELLS * MERGE, CELLS * MERGE), CELLS * CELLS)
"""Every training picture's: as many cells a side as the recipe says."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt: its token ids (image_pad for visual tokens), positions (3, T), and its text.

    `first_picture_ends` counts the tokens up to the end of its first picture, 0 without one. `ends`
    maps the characters of the text that it was asked to trace to the index of the token
    that holds each.
    """

    ids: tuple[int, ...]
    positions: Tensor
    first_picture_ends: int
    ends: Mapping[int, int]

    def token_at(self, end: int) -> int:
        """Index of the token that holds the last of the traced text's first `end` characters."""
        return self.ends[end - 1]


class Speech:
    """Writes turns for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        vocabulary = tokenizer.get_vocab()
        self.image_token: int = vocabulary["<|image_pad|>"]
        self._plain = PlainTokenizer(tokenizer.backend_tokenizer)
        self._traced = _without_added(tokenizer.backend_tokenizer)
        frame = read_frame(tokenizer, Path())
        self._head, self._tail = frame.head_ids, frame.tail_ids
        self._brackets = (vocabulary["<|vision_start|>"],), (vocabulary["<|vision_end|>"],)
        self._writer = PromptWriter(self._plain, frame, self._brackets)
        self._end = (vocabulary["<|im_end|>"],)

    def label(self, word: str) -> int:
        """The single token of a label as an answer begins with it."""
        [token] = self._plain.encode(word)
        return token

    def match(self, query: LoadedContent, document: LoadedContent, question: str) -> Turn:
        """The service's prompt of a pair, up to the position that answers.

        Traced is the text of the content that has no image.
        """
        blocks = layout(query, document)
        images = {no: SEGMENT for no, block in enumerate(blocks) if block.content.image}
        [prompt] = self._writer.write(blocks, (question,), images)
        start = sum(segment.length for segment in prompt.first)
        second = blocks[1]
        ends: dict[int, int] = {}
        if second.content.image is None and second.content.text:
            offset = second.before.rindex(second.content.text)
            ends = self._ends(second.before, start, offset)
        return self._turn(prompt.segments, ends)

    def look_up(self, question: str, answer: str, query_is_picture: bool) -> tuple[Turn, int]:
        """A question about a picture with its answer, and at which token the answer begins.

        The picture stands where match prompts of that direction have it. Traced is question +
        newline + answer.
        """
        opening, closing = self._brackets
        names = ("Query: ", "Candidate: ") if query_is_picture else ("Candidate: ", "Query: ")
        before = f"{names[1]}{question}\n"
        answered = self._plain.encode(answer)
        front: list[Segment] = [
            TextSegment((*self._head, *self._plain.encode(names[0]), *opening)),
            SEGMENT,
            TextSegment((*closing, *self._plain.encode("\n"))),
        ]
        middle = TextSegment(self._plain.encode(before))
        start = sum(segment.length for segment in front)
        begins = start + middle.length + len(self._tail)
        ends = self._ends(before, start, len(names[1]))
        for character, token in self._ends(answer, begins, 0).items():
            ends[len(question) + 1 + character] = token
        back = TextSegment((*self._tail, *answered, *self._end))
        return self._turn((*front, middle, back), ends), begins

    def _ends(self, text: str, start: int, offset: int) -> dict[int, int]:
        """Token index of each character of `text` from `offset` on, counted from there."""
        spans = self._traced.encode(text, add_special_tokens=False).offsets
        return {
            character - offset: start + no
            for no, (first, last) in enumerate(spans)
            for character in range(max(first, offset), last)
        }

    def _turn(self, segments: Sequence[Segment], ends: Mapping[int, int]) -> Turn:
        ids: list[int] = []
        for part in segments:
            visual = [self.image_token] * part.length
            ids.extend(part.ids if isinstance(part, TextSegment) else visual)
        positions, _ = mrope_positions(segments, merge=MERGE)
        first = ids.index(self.image_token) + SEGMENT.length if self.image_token in ids else 0
        return Turn(tuple(ids), positions.to(torch.long), first, ends)


def _without_added(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer as PlainTokenizer uses it, here for its offsets."""
    state = json.loads(tokenizer.to_str())
    return Tokenizer.from_str(json.dumps(state | {"added_tokens": []}))
