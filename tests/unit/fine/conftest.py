"""A tiny random Qwen2.5-VL of the true classes, saved as a checkpoint and loaded as any other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from repick.content import LoadedContent
from repick.specs import ImageLimits, Readout
from tests.unit.fine import tiny_families
from worker.checkpoints import Checkpoint
from worker.fine.scorer import FineModel

LIMITS = ImageLimits(min_pixels=6 * 28 * 28, max_pixels=16 * 28 * 28)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-qwen2.5-vl")
    tiny_families.save("qwen2_5_vl", folder)
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_folder: Path) -> Checkpoint:
    return Checkpoint(tiny_folder, "tiny", "0" * 64, "1" * 64, untrained=False)


@pytest.fixture(scope="session")
def fine_model(tiny_checkpoint: Checkpoint) -> FineModel:
    return FineModel.load(
        tiny_checkpoint, readouts=tuple(Readout), device="cpu", dtype="float32", images=LIMITS
    )


@pytest.fixture(scope="session")
def plain_model(tiny_folder: Path) -> Any:
    """The same weights in the library's own class, for references that share no code of ours."""
    architecture: Any = Qwen2_5_VLForConditionalGeneration
    return architecture.from_pretrained(tiny_folder).eval()


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path) -> Any:
    return Qwen2Tokenizer.from_pretrained(tiny_folder)


def draw(seed: int, width: int, height: int) -> Image.Image:
    """A picture of coloured rectangles, another for each seed."""
    values = hashlib.sha256(str(seed).encode()).digest()
    image = Image.new("RGB", (width, height), tuple(values[:3]))
    pen = ImageDraw.Draw(image)
    for no in range(3):
        x, y, *colour = values[3 + 5 * no : 8 + 5 * no]
        corner = (x * width // 512, y * height // 512)
        pen.rectangle((*corner, corner[0] + width // 3, corner[1] + height // 2), tuple(colour))
    return image


@pytest.fixture(scope="session")
def content() -> Callable[..., LoadedContent]:
    """Makes contents: `content("a text", picture=3, size=(90, 60), instruction=None)`."""

    def make(
        text: str | None = None,
        *,
        picture: int | None = None,
        size: tuple[int, int] = (90, 60),
        instruction: str | None = None,
    ) -> LoadedContent:
        image = None if picture is None else draw(picture, *size)
        if image is None:
            return LoadedContent(1, text, instruction=instruction)
        key = hashlib.sha256(image.tobytes() + repr(size).encode()).digest()
        return LoadedContent(1, text, image, key, instruction)

    return make


@pytest.fixture(scope="session")
def pairs(content: Callable[..., LoadedContent]) -> list[tuple[LoadedContent, LoadedContent]]:
    """Every pair of modalities, of mixed lengths and image sizes, some with an instruction."""
    queries = [
        content("a circle"),
        content("what the caller wants, in rather more words than the other one has"),
        content(picture=9),
        content(picture=1, size=(200, 80)),
        content("make it blue", picture=8, size=(100, 130), instruction="Find the edited picture."),
    ]
    documents = [
        content("a red circle."),
        content(picture=1, size=(200, 80)),
        content("a blue square\non the left", picture=2),
        content(picture=3, size=(60, 140)),
    ]
    return [(query, document) for query in queries for document in documents]
