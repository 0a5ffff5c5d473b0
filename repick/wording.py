"""The wording of a prompt (METHOD §2): its parts in their order, its question, and its labels.

Part of what a scorer is: any change here needs a new `specs.CODE_VERSION`. Chat templates and
tokens are the worker's; this is what a person would read.
"""

from __future__ import annotations

from collections.abc import Mapping

from repick.content import Content
from repick.specs import Readout

_CHOICE = "Which is true?\nA. {}\nB. {}\nAnswer A or B."
_MATCHES = "The candidate fully matches the query."
_DIFFERS = "The candidate does not match the query, or only in part."
_TRUE_FALSE = "The candidate matches the query. Answer True or False."

QUESTIONS: Mapping[Readout, tuple[str, ...]] = {
    Readout.CHOICE: (_CHOICE.format(_MATCHES, _DIFFERS),),
    Readout.CHOICE_BALANCED: (
        _CHOICE.format(_MATCHES, _DIFFERS),
        _CHOICE.format(_DIFFERS, _MATCHES),
    ),
    Readout.YES_NO: ("Does the candidate match the query? Answer Yes or No.",),
    Readout.TRUE_FALSE: (_TRUE_FALSE,),
    Readout.RIGHT_WRONG: ("The candidate matches the query. Answer Right or Wrong.",),
    Readout.RATING: (
        "How well does the candidate match the query, from 0 (not at all) to 4 (fully)? "
        "Answer with one digit.",
    ),
    Readout.PAPER: (_TRUE_FALSE,),
}
"""The question of each forward pass of a readout."""

WORDS: Mapping[Readout, tuple[tuple[str, ...], ...]] = {
    Readout.CHOICE: (("A", "B"),),
    Readout.CHOICE_BALANCED: (("A", "B"), ("B", "A")),
    Readout.YES_NO: (("Yes", "No"),),
    Readout.TRUE_FALSE: (("True", "False"),),
    Readout.RIGHT_WRONG: (("Right", "Wrong"),),
    Readout.RATING: (("0", "1", "2", "3", "4"),),
    Readout.PAPER: (("True", "False"),),
}
"""The labels of each forward pass of a readout; the positive one first, digits ascending."""

IMAGE = "<image>"
"""Where an image stands in a prompt written for people."""


def openings(instruction: str | None, *, query_first: bool) -> tuple[str, str]:
    """What stands before the first content and before the second."""
    head = f"Instruction: {instruction}\n" if instruction else ""
    first, second = ("Query: ", "Candidate: ") if query_first else ("Candidate: ", "Query: ")
    return head + first, second


def closing(text: str | None) -> str:
    """A content's own words, after its image where it has one."""
    return f"{text or ''}\n"


def turns(query: Content, document: Content, readout: Readout) -> tuple[str, ...]:
    """The user's turn of each forward pass, as a person would read it, without a chat template."""
    query_first = query.media is not None
    contents = (query, document) if query_first else (document, query)
    body = "".join(
        opening + (IMAGE if one.media else "") + closing(one.text)
        for opening, one in zip(
            openings(query.instruction, query_first=query_first), contents, strict=True
        )
    )
    return tuple(body + question for question in QUESTIONS[readout])
