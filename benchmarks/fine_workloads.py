"""Pairs to score: prompts in the order and about the lengths of METHOD §2, with random words."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from benchmarks.fine_shapes import IDS, random_patches
from worker.fine.families.base import PreparedImage
from worker.fine.prompts import ImageSegment, Prompt, TextSegment

EQUAL = (1, 32, 32)
"""256 visual tokens."""
MIXED = ((1, 16, 16), (1, 24, 32), (1, 32, 32), (1, 40, 28), (1, 20, 48))

_HEAD, _LABEL, _QUESTION = 14, 3, 43
"""Tokens of the chat template's front, of "Candidate: ", and of question and closing frame."""
_QUERY_WORDS, _CAPTION_WORDS = 12, 20


@dataclass(frozen=True, slots=True)
class Content:
    words: tuple[int, ...]
    image: PreparedImage | None


@dataclass(frozen=True, slots=True)
class Workload:
    """Pairs as prompts with their images, in the order in which a job has them."""

    name: str
    prompts: list[Prompt]
    images: list[tuple[PreparedImage, ...]]

    def __len__(self) -> int:
        return len(self.prompts)

    def first(self, count: int) -> Workload:
        return Workload(self.name, self.prompts[:count], self.images[:count])


class Writer:
    """Makes contents and prompts; every content is another one."""

    def __init__(self) -> None:
        self._random = random.Random(0)
        self._seed = 0
        self._head, self._query, self._candidate = map(self._words, (_HEAD, _LABEL, _LABEL))
        self._question = self._words(_QUESTION)

    def text(self, words: int) -> Content:
        return Content(self._words(words), None)

    def image(self, grid: tuple[int, int, int] = EQUAL) -> Content:
        self._seed += 1
        pixels = random_patches(grid, self._seed)
        key = self._seed.to_bytes(4, "big")
        segment = ImageSegment(key, grid, grid[1] * grid[2] // 4)
        return Content((), PreparedImage(segment, lambda: pixels))

    def prompt(self, query: Content, document: Content) -> Prompt:
        parts = [(self._candidate, document), (self._query, query)]
        if query.image is not None:
            parts.reverse()
        first, second = (self._block(label, content) for label, content in parts)
        return Prompt((TextSegment(self._head), *first), second, (TextSegment(self._question),))

    def _block(
        self, label: tuple[int, ...], content: Content
    ) -> tuple[TextSegment | ImageSegment, ...]:
        newline = (10,)
        if content.image is None:
            return (TextSegment((*label, *content.words, *newline)),)
        before = TextSegment((*label, IDS["start"]))
        return before, content.image.segment, TextSegment((IDS["end"], *newline))

    def _words(self, count: int) -> tuple[int, ...]:
        return tuple(self._random.randrange(100, 4000) for _ in range(count))


def workload(
    name: str, writer: Writer, queries: Sequence[Content], documents: Sequence[Content]
) -> Workload:
    """Every document with every query, by document, as a job of text queries has them."""
    pairs = [(query, document) for document, query in product(documents, queries)]
    return Workload(
        name,
        [writer.prompt(*pair) for pair in pairs],
        [tuple(one.image for one in pair if one.image is not None) for pair in pairs],
    )


def interactive(writer: Writer, k: int) -> list[Workload]:
    """One query and k documents, of each kind, all images and texts of one size."""
    image, text = [writer.image()], [writer.text(_QUERY_WORDS)]
    return [
        workload("image_image", writer, image, [writer.image() for _ in range(k)]),
        workload("text_image", writer, text, [writer.image() for _ in range(k)]),
        workload("image_text", writer, image, [writer.text(_CAPTION_WORDS) for _ in range(k)]),
    ]


def mixed(writer: Writer, k: int) -> Workload:
    """One image query, and images of several sizes with captions of several lengths."""
    sizes: Callable[[int], Content] = lambda no: writer.image(MIXED[no % len(MIXED)])  # noqa: E731
    documents = [sizes(no) if no % 2 else writer.text(5 + 9 * (no % 7)) for no in range(k)]
    return workload("mixed", writer, [sizes(2)], documents)


def nightly(writer: Writer, documents: int, queries: int) -> Workload:
    """Text queries that all meet the same image documents."""
    return workload(
        f"nightly{queries}",
        writer,
        [writer.text(_QUERY_WORDS) for _ in range(queries)],
        [writer.image() for _ in range(documents)],
    )
