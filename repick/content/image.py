"""Bytes become pixels, under the operator's limits; a refusal has a stable code and a fixed text.

Pillow's plugin classes are used directly: `Image.open` would load every plugin it has, warn about
large images, and take the depth map or gain map of a phone's JPEG for more frames.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from repick.content.header import Header, known_but_unsupported, normal_type, read_header, sniff
from repick.content.values import Media
from repick.errors import ContentError

if TYPE_CHECKING:
    from repick.settings import Settings

PROBLEMS = {
    "too_large": "the image has more bytes than this service accepts",
    "not_image": "the bytes are not those of an image",
    "unsupported": "the format is not supported: a still JPEG, PNG, WebP or GIF is",
    "format_mismatch": "the bytes are not of the declared media type",
    "bad_dimensions": "the image has no area, or is too long and narrow",
    "too_many_pixels": "the image has more pixels than this service accepts",
    "too_small": "the image is too small to show anything",
    "decode_error": "the image is damaged or cannot be decoded",
    "decode_timeout": "decoding the image took too long",
}

_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "image/png": PngImageFile,
    "image/jpeg": JpegImageFile,
    "image/gif": GifImageFile,
    "image/webp": WebPImageFile,
}

_DAMAGE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, OverflowError),
    *(struct.error, zlib.error),
)
"""What Pillow raises on damaged files; anything else is a defect, and not the image's fault."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """The operator's limits: bytes, pixels of area, pixels of the short side, long to short."""

    max_image_bytes: int = 20 * 1024 * 1024
    max_image_pixels: int = 50_000_000
    min_image_side: int = 3
    max_image_aspect: float = 200.0

    @classmethod
    def from_settings(cls, settings: Settings) -> ImagePolicy:
        return cls(
            settings.max_image_bytes,
            settings.max_image_pixels,
            settings.min_image_side,
            settings.max_image_aspect,
        )


def image_error(code: str, **ids: object) -> ContentError:
    """The error of a code in PROBLEMS; a time limit depends on the load, so it is retryable."""
    return ContentError(code, PROBLEMS[code], retryable=code == "decode_timeout", **ids)


def media_of(data: bytes, media_type: str, width: int, height: int) -> Media:
    return Media(hashlib.sha256(data).digest(), media_type, width, height, len(data))


def inspect_image(data: bytes, declared_type: str | None, policy: ImagePolicy) -> Media:
    """The image's facts; it is decoded in full, so that what passes here passes in a worker.

    Raises ContentError with a code of PROBLEMS.
    """
    media_type = _media_type(data, declared_type, policy)
    image = _decode(data, media_type, policy)
    return media_of(data, media_type, image.width, image.height)


def decode_image(data: bytes, policy: ImagePolicy) -> Image.Image:
    """RGB pixels, upright (EXIF), alpha on white, 16 bits scaled to 8; raises as inspect_image."""
    return _decode(data, _media_type(data, None, policy), policy)


def _media_type(data: bytes, declared_type: str | None, policy: ImagePolicy) -> str:
    if len(data) > policy.max_image_bytes:
        raise image_error("too_large")
    if known_but_unsupported(data):
        raise image_error("unsupported")
    declared, sniffed = normal_type(declared_type), sniff(data)
    if declared is not None and declared.startswith("image/") and declared != sniffed:
        raise image_error("format_mismatch")
    if sniffed is None:
        raise image_error("not_image")
    if declared not in (None, sniffed):
        raise image_error("format_mismatch")
    return sniffed


def _decode(data: bytes, media_type: str, policy: ImagePolicy) -> Image.Image:
    try:
        header = read_header(data, media_type)
        _check_size(header.width, header.height, policy)
        if header.frames > 1:
            raise image_error("unsupported")
        with _PLUGINS[media_type](BytesIO(header.payload)) as image:
            if image.size != (header.width, header.height):
                raise image_error("decode_error")
            image.load()
            return _upright(_rgb(image, header), header.orientation)
    except Image.DecompressionBombError:
        raise image_error("too_many_pixels") from None
    except _DAMAGE:
        raise image_error("decode_error") from None


def _check_size(width: int, height: int, policy: ImagePolicy) -> None:
    short, long = sorted((width, height))
    if short == 0:
        raise image_error("bad_dimensions")
    if short * long > policy.max_image_pixels:
        raise image_error("too_many_pixels")
    if short < policy.min_image_side:
        raise image_error("too_small")
    if long > short * policy.max_image_aspect:
        raise image_error("bad_dimensions")


def _rgb(image: Image.Image, header: Header) -> Image.Image:
    if image.mode == "I;16":
        return _scaled_grey(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    _scale_transparent_value(image, header.depth)
    rgba = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(rgba, mask=rgba.getchannel("A"))
    return canvas


def _scaled_grey(image: Image.Image) -> Image.Image:
    """16-bit grey in 8 bits, rounded; Pillow's own conversion clips everything above 255."""
    table = [(value * 255 + 32767) // 65535 for value in range(65536)]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        table[transparent] = 255
    return image.convert("I").point(table, "L")


def _scale_transparent_value(image: Image.Image, depth: int) -> None:
    """Bring tRNS to 8 bits as Pillow brings the pixels: it leaves the value at the file's depth."""
    value = image.info.get("transparency")
    if image.mode == "L" and isinstance(value, int) and depth < 8:
        image.info["transparency"] = value * 255 // ((1 << depth) - 1)
    elif image.mode == "RGB" and isinstance(value, tuple) and depth == 16:
        image.info["transparency"] = tuple(part >> 8 for part in value)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)
