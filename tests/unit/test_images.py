"""Images: what is refused, and with which code; what is accepted, and how it then looks."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from repick.content import ImagePolicy, decode_image, image_error, inspect_image
from repick.content.header import MEDIA_TYPES, exif_orientation
from repick.content.image import PROBLEMS
from repick.errors import ContentError
from repick.settings import Settings
from tests import bad_images
from tests.bad_images import RED, REFUSED, WHITE, BadImage, picture, saved

POLICY = ImagePolicy()


@pytest.mark.parametrize("bad", REFUSED, ids=lambda bad: bad.name)
def test_a_bad_image_gets_its_code_and_a_fixed_text(bad: BadImage) -> None:
    with pytest.raises(ContentError) as caught:
        inspect_image(bad.build(), bad.declared_type, POLICY)
    assert caught.value.code == bad.code
    assert caught.value.detail == PROBLEMS[bad.code]
    assert not caught.value.retryable


def test_too_many_bytes_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ContentError, match="more bytes") as caught:
        inspect_image(bytes(101), None, ImagePolicy(max_image_bytes=100))
    assert caught.value.code == "too_large"


def test_only_a_timeout_is_worth_another_try() -> None:
    assert [code for code in PROBLEMS if image_error(code).retryable] == ["decode_timeout"]


@pytest.mark.parametrize(
    ("kind", "media_type", "declared"),
    [
        ("PNG", "image/png", "image/png"),
        ("PNG", "image/png", "application/octet-stream"),
        ("JPEG", "image/jpeg", "image/jpg"),
        ("JPEG", "image/jpeg", "IMAGE/JPEG; charset=binary"),
        ("WEBP", "image/webp", None),
        ("GIF", "image/gif", ""),
    ],
)
def test_a_good_image_is_described(kind: str, media_type: str, declared: str | None) -> None:
    data = bad_images.photo(kind, 40, 30)
    media = inspect_image(data, declared, POLICY)
    assert (media.media_type, media.width, media.height) == (media_type, 40, 30)
    assert (media.sha256, media.byte_length) == (hashlib.sha256(data).digest(), len(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_turned_by_exif_is_transposed(kind: str, order: str, orientation: int) -> None:
    data = saved(picture(), kind, exif=bad_images.exif(orientation, order))
    with Image.open(io.BytesIO(data)) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    image = decode_image(data, POLICY)
    assert image.tobytes() == expected.tobytes()
    media = inspect_image(data, None, POLICY)
    assert (media.width, media.height) == image.size == expected.size


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_corrupt_exif_leaves_the_image_upright(kind: str, exif: bytes) -> None:
    assert decode_image(saved(picture(), kind, exif=exif), POLICY).size == (32, 24)


@given(st.binary(max_size=60))
def test_any_bytes_have_an_orientation(data: bytes) -> None:
    assert exif_orientation(b"Exif\0\0II*\0" + data) in range(1, 9)


def test_cmyk_becomes_rgb() -> None:
    image = decode_image(saved(picture(mode="CMYK"), "JPEG", quality=95), POLICY)
    assert image.mode == "RGB"
    assert near(image.getpixel((4, 4)), RED, 30)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    image = decode_image(bad_images.grey16(0, 257, 0x8000, 0xFFFF), POLICY)
    assert [image.getpixel((x, 0)) for x in range(4)] == [(v, v, v) for v in (0, 1, 128, 255)]


def test_16_bit_grey_shows_white_where_it_is_transparent() -> None:
    image = decode_image(bad_images.grey16(0, 0x1234, 0x1235, 0, transparent=0x1234), POLICY)
    assert [image.getpixel((x, 0))[0] for x in range(4)] == [0, 255, 18, 0]


def test_16_bit_colour_shows_white_where_it_is_transparent() -> None:
    key = (0x1234, 0x5678, 0x9ABC)
    row = b"\0" + struct.pack(">9H", *key, 0xFFFF, 0, 0, 0, 0, 0)
    transparent = bad_images.chunk(b"tRNS", struct.pack(">3H", *key))
    image = decode_image(bad_images.png(3, 3, 16, 2, zlib.compress(row * 3), transparent), POLICY)
    assert [image.getpixel((x, 0)) for x in range(3)] == [WHITE, RED, (0, 0, 0)]


@pytest.mark.parametrize(("depth", "row"), [(1, b"\0\x40"), (2, b"\0\x18"), (4, b"\0\x01\x20")])
def test_grey_of_few_bits_shows_white_where_it_is_transparent(depth: int, row: bytes) -> None:
    transparent = bad_images.chunk(b"tRNS", struct.pack(">H", 1))
    data = bad_images.png(3, 3, depth, 0, zlib.compress(row * 3), transparent)
    image = decode_image(data, POLICY)
    assert image.getpixel((1, 0)) == WHITE
    assert image.getpixel((0, 0)) == (0, 0, 0)
    assert image.getpixel((2, 0)) != WHITE


def palette_with_alpha() -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, *RED])
    image.paste(0, (0, 0, 4, 8))
    return image


@pytest.mark.parametrize("transparency", [0, bytes([0, 128])])
def test_a_palette_with_alpha_is_composited_on_white(transparency: int | bytes) -> None:
    image = decode_image(saved(palette_with_alpha(), "PNG", transparency=transparency), POLICY)
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == WHITE
    assert image.getpixel((7, 0)) == (RED if transparency == 0 else (255, 127, 127))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_is_composited_on_white(kind: str, mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    assert decode_image(saved(image, kind, lossless=True), POLICY).getpixel((3, 3)) == WHITE


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_an_opaque_png_of_any_mode_becomes_rgb(mode: str) -> None:
    image = decode_image(saved(Image.new(mode, (8, 8), 0), "PNG"), POLICY)
    assert (image.mode, image.size) == ("RGB", (8, 8))


def test_an_apng_of_one_frame_is_a_still_image() -> None:
    assert inspect_image(bad_images.apng(1), None, POLICY).width == 32


def test_a_jpeg_with_a_second_picture_behind_it_is_its_first() -> None:
    other = Image.new("RGB", (8, 8))
    data = saved(picture(), "MPO", save_all=True, append_images=[other])
    media = inspect_image(data, "image/jpeg", POLICY)
    assert (media.media_type, media.width) == ("image/jpeg", 32)


def test_a_gif_frame_outside_its_screen_widens_the_image() -> None:
    still = bad_images.gif_of_frames(1)
    data = still[:6] + struct.pack("<HH", 4, 4) + still[10:]
    assert inspect_image(data, None, POLICY).width == decode_image(data, POLICY).width == 8


def test_a_large_comment_is_no_reason_to_refuse_a_png() -> None:
    text = bad_images.chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(8 << 20)))
    still = bad_images.photo("PNG")
    assert inspect_image(still[:33] + text + still[33:], None, POLICY).width == 32


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), st.data())
def test_a_damaged_image_is_refused_or_described_and_nothing_else(
    kind: str, data: st.DataObject
) -> None:
    damaged = bytearray(bad_images.photo(kind))
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    try:
        outcome = inspect_image(bytes(damaged[:cut]), None, POLICY).media_type
    except ContentError as error:
        outcome = error.code
    assert outcome in {*PROBLEMS, *MEDIA_TYPES}


def test_the_policy_comes_from_the_settings() -> None:
    given_settings = Settings(
        max_image_bytes=1, max_image_pixels=2, min_image_side=3, max_image_aspect=4.0
    )
    assert ImagePolicy.from_settings(given_settings) == ImagePolicy(1, 2, 3, 4.0)


MEASURE = """
import json, resource, sys
from repick.content import ImageInspector, ImagePolicy
from tests import bad_images
bomb, small = bad_images.bomb(), bad_images.photo()
def peak(who): return resource.getrusage(who).ru_maxrss
with ImageInspector(ImagePolicy()) as inspector:
    before = peak(resource.RUSAGE_SELF)
    code = inspector.inspect_many([(bomb, "image/png"), (small, None)])[0].code
    alive = len(inspector.pids)
unit = 1 if sys.platform == "darwin" else 1024
grown = peak(resource.RUSAGE_SELF) - before
child = peak(resource.RUSAGE_CHILDREN)
print(json.dumps({"code": code, "alive": alive, "file": len(bomb),
                  "parent_mb": grown * unit / 1e6, "child_mb": child * unit / 1e6}))
"""


def test_a_40_000_squared_png_takes_no_memory_in_parent_or_child() -> None:
    out = subprocess.run(
        [sys.executable, "-c", MEASURE],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    seen = json.loads(out)
    assert (seen["code"], seen["alive"]) == ("too_many_pixels", 1)
    assert seen["file"] < 20e6
    assert seen["parent_mb"] < 300
    assert seen["child_mb"] < 300


def near(pixel: object, expected: tuple[int, ...], tolerance: int) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, expected, strict=True))
