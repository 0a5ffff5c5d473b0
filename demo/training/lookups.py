"""Look-ups: short questions about a drawn scene, which teach where things are before judging."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from demo.data.scenes import Figure, Scene, describe, write
from demo.data.scenes.wording import PHRASES
from demo.data.scenes.world import RELATIONS, relation_between
from demo.training.rows import Row
from demo.training.speech import Speech, Turn

_THIRDS = ((1 / 3, ("left", "middle", "right")), (1 / 3, ("top", "middle", "bottom")))
_CLEAR = 0.04
"""Of a figure nearer than this to the line between two thirds, no place is asked."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """A question with its answer; `named` are the figures whose names end at these characters."""

    question: str
    answer: str
    named: tuple[tuple[int, Figure], ...]


def look_up_row(
    speech: Speech, rng: random.Random, scene: Scene, picture: int, query_is_picture: bool
) -> Row:
    """One of the scene's possible look-ups, its kind chosen before its figures."""
    makers = [*_KINDS]
    rng.shuffle(makers)
    for make in makers:
        options = list(make(scene))
        if options:
            asked = rng.choice(options)
            turn, begins = speech.look_up(asked.question, asked.answer, query_is_picture)
            return _row(scene, picture, asked, turn, begins)
    raise ValueError("every scene has a figure with a size")


def caption_task_row(
    speech: Speech, rng: random.Random, scene: Scene, picture: int, query_is_picture: bool
) -> Row:
    """The picture's caption, to be told from the picture."""
    question, caption = "what does the picture show?", write(describe(scene, rng), 0)
    turn, begins = speech.look_up(question, caption.text, query_is_picture)
    return Row(turn, (picture,), _following(turn, begins), graded="caption")


def _row(scene: Scene, picture: int, asked: LookUp, turn: Turn, begins: int) -> Row:
    points = tuple((turn.token_at(end), scene.figures.index(figure)) for end, figure in asked.named)
    return Row(turn, (picture,), _following(turn, begins), (), points, "look_up")


def _following(turn: Turn, begins: int) -> tuple[tuple[int, int], ...]:
    """Each answer token, and the end of the turn, is predicted from the one before."""
    return tuple((no - 1, turn.ids[no]) for no in range(begins, len(turn.ids)))


def _name(figure: Figure) -> str:
    return f"{figure.colour} {figure.shape}"


def _where(scene: Scene) -> Iterator[LookUp]:
    for figure in scene.figures:
        place = _place(figure)
        if place:
            start = f"where is the {_name(figure)}"
            yield LookUp(f"{start}?", place, ((len(start), figure),))


def _place(figure: Figure) -> str | None:
    """ "top left", "top", "middle", …: None near the lines between."""
    words = []
    for value, (third, names) in zip((figure.x, figure.y), _THIRDS, strict=True):
        if min(abs(value - third), abs(value - 2 * third)) < _CLEAR:
            return None
        words.append(names[int(value / third)])
    across, down = words
    if across == "middle":
        return down
    return across if down == "middle" else f"{down} {across}"


def _beside(scene: Scene) -> Iterator[LookUp]:
    """ "what is above the red star?", where one figure alone is."""
    for figure in scene.figures:
        for kind in RELATIONS:
            found = [
                o for o in scene.figures if o != figure and relation_between(o, figure) == kind
            ]
            if len(found) == 1:
                start = f"what is {PHRASES[kind][0]} the {_name(figure)}"
                yield LookUp(f"{start}?", _name(found[0]), ((len(start), figure),))


def _how(scene: Scene) -> Iterator[LookUp]:
    """ "how does the red star stand to the blue ring?": left, right, above or below."""
    for one in scene.figures:
        for other in scene.figures:
            kind = relation_between(one, other) if one != other else None
            if kind:
                first = f"how does the {_name(one)}"
                start = f"{first} stand to the {_name(other)}"
                yield LookUp(f"{start}?", kind, ((len(first), one), (len(start), other)))


def _colour(scene: Scene) -> Iterator[LookUp]:
    for figure in scene.figures:
        if sum(other.shape == figure.shape for other in scene.figures) == 1:
            start = f"what colour is the {figure.shape}"
            yield LookUp(f"{start}?", figure.colour, ((len(start), figure),))


def _shape(scene: Scene) -> Iterator[LookUp]:
    for figure in scene.figures:
        if sum(other.colour == figure.colour for other in scene.figures) == 1:
            start = f"what shape is {figure.colour}"
            yield LookUp(f"{start}?", figure.shape, ((len(start), figure),))


def _size(scene: Scene) -> Iterator[LookUp]:
    for figure in scene.figures:
        start = f"how large is the {_name(figure)}"
        yield LookUp(f"{start}?", figure.size, ((len(start), figure),))


def _count(scene: Scene) -> Iterator[LookUp]:
    yield LookUp("how many figures are there?", str(len(scene.figures)), ())


_KINDS: tuple[Callable[[Scene], Iterator[LookUp]], ...] = (
    *(_where, _where, _beside, _beside, _how, _how),  # places are what is hard
    *(_colour, _shape, _size, _count),
)
