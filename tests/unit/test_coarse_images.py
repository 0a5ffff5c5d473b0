"""The pixels that an encoder's tower gets, against its processor's own, an image at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, CLIPImageProcessorPil, SiglipImageProcessorPil

from worker.coarse_images import ImageReader

SIZES = ((96, 96), (120, 90), (33, 300), (500, 20), (1, 1), (97, 95))
PROCESSORS = {
    "clip": CLIPImageProcessorPil(
        size={"shortest_edge": 96}, crop_size={"height": 96, "width": 96}
    ),
    "clip, published settings": CLIPImageProcessorPil(),
    "clip, no crop": CLIPImageProcessorPil(size={"height": 64, "width": 48}, do_center_crop=False),
    "siglip": SiglipImageProcessorPil(size={"height": 32, "width": 32}),
    "siglip, one mean": SiglipImageProcessorPil(image_mean=0.5, image_std=0.25),
    "not normalised": CLIPImageProcessorPil(do_normalize=False),
    "not rescaled": CLIPImageProcessorPil(do_rescale=False),
}


def images() -> Iterator[Image.Image]:
    """Noise of many shapes, and one with every byte in every channel."""
    noise = np.random.default_rng(5)
    for width, height in SIZES:
        yield Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8))
    levels = np.arange(256, dtype=np.uint8)
    channels = [np.roll(levels, by).reshape(16, 16) for by in (0, 85, 170)]
    yield Image.fromarray(np.stack(channels, axis=-1))


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_table_gives_the_processors_own_pixels_to_the_last_bit(name: str) -> None:
    reader, many = ImageReader.of(PROCESSORS[name]), list(images())
    assert reader.table is not None
    fast, plain = reader(many), reader.plain(many)
    assert fast.keys() == plain.keys()
    assert fast["pixel_values"].dtype == plain["pixel_values"].dtype
    assert torch.equal(fast["pixel_values"], plain["pixel_values"])
    assert fast["pixel_values"].float().std() > 0.1


class Inverted(CLIPImageProcessorPil):
    """Of a family that does something of its own between its steps."""

    def _preprocess(self, images: list[Any], **options: Any) -> Any:
        return super()._preprocess([255 - image for image in images], **options)


def test_a_processor_with_steps_of_its_own_is_asked_itself() -> None:
    reader, many = ImageReader.of(Inverted()), list(images())
    assert reader.table is None
    assert torch.equal(reader(many)["pixel_values"], reader.plain(many)["pixel_values"])


def test_a_processor_that_pads_is_asked_itself() -> None:
    padding = CLIPImageProcessorPil(do_pad=True, pad_size={"height": 300, "width": 300})
    assert ImageReader.of(padding).table is None


def test_patches_of_native_aspect_ratio_are_not_looked_up(siglip2_processor: Any) -> None:
    assert ImageReader.of(siglip2_processor).table is None


@pytest.fixture
def siglip2_processor(tmp_path: Any) -> Any:
    settings = '{"image_processor_type": "Siglip2ImageProcessor", "max_num_patches": 16}'
    (tmp_path / "preprocessor_config.json").write_text(settings)
    auto: Any = AutoImageProcessor
    return auto.from_pretrained(tmp_path, backend="pil")
