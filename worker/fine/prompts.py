"""A pair becomes a prompt: wording and order of METHOD §2, as segments of tokens and images.

Text from outside never becomes a chat or image token: it is tokenised by a tokenizer that does
not know them. The segments' boundaries depend on the wording alone, and lie where the tokenizer
would cut anyway (after a newline, before a letter), so that a prompt has the same tokens as when
it is tokenised in one piece, and its front part can be computed once for many pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from repick.content import LoadedContent
from repick.errors import ContentError
from repick.specs import Readout
from repick.wording import QUESTIONS as QUESTIONS
from repick.wording import closing, openings
from worker.fine.tokens import Frame, PlainTokenizer


@dataclass(frozen=True, slots=True)
class TextSegment:
    ids: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class ImageSegment:
    """A reference to an image: `key` identifies its pixels, `grid` counts patches (t, h, w)."""

    key: bytes
    grid: tuple[int, int, int]
    length: int
    """Visual tokens that it takes in the prompt."""


Segment = TextSegment | ImageSegment


@dataclass(frozen=True, slots=True)
class Prompt:
    """One user turn in the parts that pairs can share, front to back.

    `first` is the frame's head, the instruction and the content that stands first; `second` the
    other content; `question` the question and the frame's tail.
    """

    first: tuple[Segment, ...]
    second: tuple[Segment, ...]
    question: tuple[Segment, ...]

    @property
    def segments(self) -> tuple[Segment, ...]:
        return (*self.first, *self.second, *self.question)

    @property
    def length(self) -> int:
        return sum(segment.length for segment in self.segments)

    def token_ids(self, image_token: int) -> list[int]:
        """The prompt as token ids, `image_token` in the place of every visual token."""
        ids: list[int] = []
        for part in self.segments:
            ids.extend(part.ids if isinstance(part, TextSegment) else [image_token] * part.length)
        return ids

    @property
    def images(self) -> tuple[ImageSegment, ...]:
        return tuple(part for part in self.segments if isinstance(part, ImageSegment))


@dataclass(frozen=True, slots=True)
class Block:
    """A content's words in the turn: `before` its image, then `after`; all of it without one."""

    before: str
    content: LoadedContent
    after: str = ""


def layout(query: LoadedContent, document: LoadedContent) -> tuple[Block, Block]:
    """The two blocks in their order: the query first where it has an image (METHOD §2)."""
    return _blocks(query, document, query_first=query.image is not None)


def _blocks(
    query: LoadedContent, document: LoadedContent, *, query_first: bool
) -> tuple[Block, Block]:
    first, second = openings(query.instruction, query_first=query_first)
    if query_first:
        return _block(first, query), _block(second, document)
    return _block(first, document), _block(second, query)


def _block(opening: str, content: LoadedContent) -> Block:
    words = closing(content.text)
    if content.image is None:
        return Block(opening + words, content)
    return Block(opening, content, words)


class PromptWriter:
    """Writes the prompts of a pair for one tokenizer; pure and thread-safe.

    `brackets` are the token ids around an image's visual tokens.
    """

    def __init__(
        self, plain: PlainTokenizer, frame: Frame, brackets: tuple[tuple[int, ...], tuple[int, ...]]
    ) -> None:
        self._plain, self._frame, self._brackets = plain, frame, brackets
        self._questions = {
            question: (*plain.encode(question), *frame.tail_ids)
            for questions in QUESTIONS.values()
            for question in questions
        }

    def shortened(self, content: LoadedContent, tokens: int) -> LoadedContent:
        """The content with the last `tokens` tokens of its text cut off.

        Raises ContentError `too_long` where no text would be left.
        """
        text = content.text or ""
        left = self._plain.cut(text, len(self._plain.encode(text)) - tokens)
        if not left.strip():
            raise ContentError("too_long", "the pair does not fit without the document's text")
        return replace(content, text=left)

    def write(
        self,
        blocks: Sequence[Block],
        questions: Sequence[str],
        images: Mapping[int, ImageSegment],
    ) -> tuple[Prompt, ...]:
        """One prompt a question; `images` maps the number of a block to its image's segment.

        A block whose image is not in `images` is written without it, to count its words first.
        """
        first, second = (
            tuple(self._segments(block, images.get(no))) for no, block in enumerate(blocks)
        )
        head = TextSegment(self._frame.head_ids)
        return tuple(
            Prompt((head, *first), second, (TextSegment(self._questions[question]),))
            for question in questions
        )

    def _segments(self, block: Block, image: ImageSegment | None) -> Iterator[Segment]:
        opening, closing = self._brackets if image else ((), ())
        yield TextSegment((*self._plain.encode(block.before), *opening))
        if image:
            yield image
        if block.after:
            yield TextSegment((*closing, *self._plain.encode(block.after)))

    def sha256(self, readout: Readout, labels: Sequence[Sequence[str]]) -> str:
        """Hash of all wording of a readout: frame, both orders, questions and labels."""
        words = LoadedContent(0, "{text}", instruction="{instruction}")
        orders = [
            [block.before for block in _blocks(words, words, query_first=query_first)]
            for query_first in (True, False)
        ]
        value = {
            "frame": [self._frame.head, self._frame.tail],
            "layout": orders,
            "questions": QUESTIONS[readout],
            "labels": labels,
        }
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
