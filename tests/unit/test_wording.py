"""The prompt as a person reads it is the one that the worker tokenises."""

from __future__ import annotations

import pytest
from PIL import Image

from repick.content import Content, LoadedContent, Media
from repick.specs import Readout
from repick.wording import IMAGE, QUESTIONS, WORDS, turns
from worker.fine.prompts import Block, layout

MEDIA = Media(b"x" * 32, "image/png", 4, 4, 100)
PARTS = [("words", False), (None, True), ("words", True)]


def written(block: Block) -> str:
    return block.before + (IMAGE if block.content.image else "") + block.after


@pytest.mark.parametrize("instruction", [None, "Find it."])
@pytest.mark.parametrize("document", PARTS)
@pytest.mark.parametrize("query", PARTS)
def test_a_turn_has_the_workers_words_in_the_workers_order(
    query: tuple[str | None, bool], document: tuple[str | None, bool], instruction: str | None
) -> None:
    pixels = Image.new("RGB", (4, 4))
    known = [
        Content(words, MEDIA if image else None, asked)
        for (words, image), asked in ((query, instruction), (document, None))
    ]
    loaded = [
        LoadedContent(0, one.text, pixels if one.media else None, None, one.instruction)
        for one in known
    ]
    blocks = "".join(written(block) for block in layout(loaded[0], loaded[1]))
    for readout in Readout:
        expected = tuple(blocks + question for question in QUESTIONS[readout])
        assert turns(known[0], known[1], readout) == expected


def test_a_turn_reads_as_the_method_says() -> None:
    query = Content("a red cup", instruction="Find it.")
    (turn,) = turns(query, Content("cups", MEDIA), Readout.YES_NO)
    assert turn == (
        "Instruction: Find it.\nCandidate: <image>cups\nQuery: a red cup\n"
        "Does the candidate match the query? Answer Yes or No."
    )


def test_every_pass_of_a_readout_has_a_question_and_labels() -> None:
    for readout in Readout:
        assert len(QUESTIONS[readout]) == len(WORDS[readout])
