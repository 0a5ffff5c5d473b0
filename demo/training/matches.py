"""Match questions: the service's own prompts, in every readout's form, with a known answer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from demo.data.scenes import Caption, Description, Scene, holds, write
from demo.data.scenes.world import Attribute, fillings
from demo.training.rows import Picture, Row
from demo.training.speech import Speech, Turn
from repick.content import LoadedContent
from repick.specs import Readout
from worker.fine.prompts import QUESTIONS
from worker.fine.readout import WORDS

FULLY, PARTLY, NOT_AT_ALL = 4, 2, 0
"""Ratings: true, true but for one error, about something else."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The form of a question, fixed for all rows that are compared with each other."""

    readout: Readout
    number: int
    query_is_picture: bool
    template: int

    @property
    def question(self) -> str:
        return QUESTIONS[self.readout][self.number]

    def answer(self, rating: int) -> str:
        """The label that is right for a pair of that rating."""
        words = WORDS[self.readout][self.number]
        if self.readout is Readout.RATING:
            return words[rating]
        return words[0 if rating == FULLY else 1]


def ask(
    rng: random.Random,
    readouts: Sequence[Readout],
    templates: int,
    query_is_picture: bool | None = None,
) -> Asked:
    """Any form of question, in either direction if none is given."""
    readout = rng.choice(readouts)
    number = rng.randrange(len(QUESTIONS[readout]))
    if query_is_picture is None:
        query_is_picture = rng.random() < 0.5
    return Asked(readout, number, query_is_picture, rng.randrange(templates))


def caption_row(
    speech: Speech,
    asked: Asked,
    picture: tuple[int, Picture],
    description: Description,
    rating: int,
    graded: str,
) -> Row:
    """Whether a caption is true of a drawn picture: told word by word, and answered at the end."""
    number, drawn = picture
    caption = write(description, asked.template)
    text, image = LoadedContent(0, caption.text), LoadedContent(1, None, drawn.image)
    query, document = (image, text) if asked.query_is_picture else (text, image)
    turn = speech.match(query, document, asked.question)
    scene = drawn.scene
    if scene is None:
        raise ValueError("captions are of drawn scenes")
    return Row(
        turn,
        (number,),
        _last(speech, turn, asked, rating),
        tuple(_truths(scene, caption, turn)),
        tuple(_points(scene, caption, turn)),
        graded,
        rating == FULLY,
    )


Side = tuple[str | None, tuple[int, Picture] | None]
"""A content: its text, and its picture with the picture's number in the batch."""


def pair_row(
    speech: Speech, asked: Asked, query: Side, document: Side, rating: int, graded: str
) -> Row:
    """Any pair, each side a text, a picture or both."""
    loaded = [
        LoadedContent(no, text, numbered[1].image if numbered else None)
        for no, (text, numbered) in enumerate((query, document))
    ]
    turn = speech.match(loaded[0], loaded[1], asked.question)
    order = (query, document) if query[1] else (document, query)
    numbers = tuple(numbered[0] for _, numbered in order if numbered)
    answers = _last(speech, turn, asked, rating)
    return Row(turn, numbers, answers, (), (), graded, rating == FULLY)


def _last(speech: Speech, turn: Turn, asked: Asked, rating: int) -> tuple[tuple[int, int], ...]:
    return ((len(turn.ids) - 1, speech.label(asked.answer(rating))),)


def _truths(scene: Scene, caption: Caption, turn: Turn) -> Iterator[tuple[int, bool]]:
    """At each fact: whether all that has been told so far can still be true."""
    for no, mark in enumerate(caption.marks):
        yield turn.token_at(mark.end), holds(scene, caption.facts[: no + 1])


def _points(scene: Scene, caption: Caption, turn: Turn) -> Iterator[tuple[int, int]]:
    """At each noun: the one figure that its colour, shape and size fit, where there is one."""
    for mark in caption.marks:
        fact = mark.fact
        if isinstance(fact, Attribute) and fact.name == "shape":
            own = [
                Attribute(0, other.name, other.value)
                for other in caption.facts
                if isinstance(other, Attribute)
                and other.slot == fact.slot
                and other.name in ("colour", "shape", "size")
            ]
            found = [figure for (figure,) in fillings(scene, own)]
            if len(found) == 1:
                yield turn.token_at(mark.end), scene.figures.index(found[0])
