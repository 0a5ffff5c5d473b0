"""Builders of bad and odd images, and the tables of what each of them gets.

Everything is built byte by byte or by Pillow, so that no test needs a file.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

RED, WHITE = (255, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class BadImage:
    """An image that is refused: its bytes, the type its sender claims, and the code it gets."""

    name: str
    build: Callable[[], bytes]
    code: str
    declared_type: str | None = None


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width: int = 32, height: int = 24, mode: str = "RGB") -> Image.Image:
    """Left half red, right half blue, so that a turned or mirrored picture shows."""
    image = Image.new("RGB", (width, height), RED)
    image.paste((0, 0, 255), (width // 2, 0, width, height))
    return image.convert(mode)


def photo(kind: str = "JPEG", width: int = 32, height: int = 24, **options: object) -> bytes:
    return saved(picture(width, height), kind, **options)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, *extra: bytes) -> bytes:
    """A PNG of one compressed stream `pixels`; `extra` chunks stand before it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    tail = chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + tail


def zeros(count: int) -> bytes:
    """A zlib stream of `count` zero bytes, made without holding or compressing them all."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = rest.compress(bytes(count % (1 << 20))) + rest.flush()
    adler = (count % 65521) << 16 | 1
    return b"\x78\xda" + block * (count >> 20) + end + struct.pack(">I", adler)


def bomb(side: int = 40_000) -> bytes:
    """A valid RGB PNG of side² black pixels: 4.8 GB of pixels in a file of about 5 MB."""
    return png(side, side, 8, 2, zeros(side * (3 * side + 1)))


def gif_of_frames(count: int) -> bytes:
    """A GIF of `count` frames of 8×8, without an encoder's work for each."""
    still = saved(Image.new("P", (8, 8)), "GIF")
    start = still.index(b"\x2c", 13 + (3 << ((still[10] & 7) + 1)))
    return still[:start] + still[start:-1] * count + b"\x3b"


def gif_with_frame(width: int, height: int) -> bytes:
    """A GIF whose screen is 8×8 and whose only frame claims another size."""
    still = gif_of_frames(1)
    start = still.index(b"\x2c", 13 + (3 << ((still[10] & 7) + 1)))
    return still[: start + 5] + struct.pack("<HH", width, height) + still[start + 9 :]


def apng(frames: int) -> bytes:
    """A PNG that announces `frames` animation frames."""
    control = chunk(b"acTL", struct.pack(">II", frames, 0))
    still = photo("PNG")
    return still[:33] + control + still[33:]


def webp_canvas(width: int, height: int) -> bytes:
    """A WebP whose extended header claims a canvas that its frame does not have."""
    still = saved(picture(mode="RGBA"), "WEBP", exif=b"Exif\0\0II*\0", lossless=True)
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return still[:24] + sides + still[30:]


def jpeg_size(width: int, height: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    data = photo("JPEG")
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


def exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def animated_webp() -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    return saved(frames[0], "WEBP", save_all=True, append_images=frames[1:])


def grey16(*values: int, transparent: int | None = None) -> bytes:
    """A 16-bit grey PNG, 4 rows of `values`."""
    row = b"\0" + struct.pack(f">{len(values)}H", *values)
    extra = () if transparent is None else (chunk(b"tRNS", struct.pack(">H", transparent)),)
    return png(len(values), 4, 16, 0, zlib.compress(row * 4), *extra)


REFUSED = (
    BadImage("no bytes", bytes, "not_image"),
    BadImage("prose", lambda: b"hello, this is no image", "not_image"),
    BadImage("HTML", lambda: b"<!doctype html><html></html>", "not_image"),
    BadImage("HTML called a PNG", lambda: b"<html></html>", "format_mismatch", "image/png"),
    BadImage("PNG called a JPEG", lambda: photo("PNG"), "format_mismatch", "image/jpeg"),
    BadImage("JPEG called a PNG", lambda: photo("JPEG"), "format_mismatch", "image/png"),
    BadImage("PNG called a PDF", lambda: photo("PNG"), "format_mismatch", "application/pdf"),
    BadImage("truncated PNG", lambda: photo("PNG")[:-30], "decode_error"),
    BadImage("PNG cut in its header", lambda: photo("PNG")[:20], "decode_error"),
    BadImage("PNG's first 8 bytes", lambda: photo("PNG")[:8], "decode_error"),
    BadImage("truncated JPEG", lambda: photo("JPEG", 200, 200)[:-200], "decode_error"),
    BadImage("JPEG cut in its header", lambda: photo("JPEG")[:30], "decode_error"),
    BadImage("JPEG without pixels", lambda: b"\xff\xd8\xff\xd9", "decode_error"),
    BadImage("truncated WebP", lambda: photo("WEBP")[:-10], "decode_error"),
    BadImage("WebP's first 12 bytes", lambda: photo("WEBP")[:12], "decode_error"),
    BadImage("truncated GIF", lambda: photo("GIF", 300, 300)[:-60], "decode_error"),
    BadImage("GIF without frames", lambda: gif_of_frames(0), "decode_error"),
    BadImage("PNG with garbage for pixels", lambda: png(9, 9, 8, 2, b"garbage"), "decode_error"),
    BadImage("PNG of an unknown colour type", lambda: png(9, 9, 8, 5, zeros(90)), "decode_error"),
    BadImage("40,000² PNG", bomb, "too_many_pixels"),
    BadImage("2³¹ wide PNG", lambda: png(2**31 - 1, 9, 8, 2, zeros(9)), "too_many_pixels"),
    BadImage("65,500² JPEG", lambda: jpeg_size(65_500, 65_500), "too_many_pixels"),
    BadImage("16,384² WebP", lambda: webp_canvas(16_384, 16_384), "too_many_pixels"),
    BadImage("65,535² GIF frame", lambda: gif_with_frame(65_535, 65_535), "too_many_pixels"),
    BadImage("0×N PNG", lambda: png(0, 40, 8, 2, zeros(40)), "bad_dimensions"),
    BadImage("N×0 PNG", lambda: png(40, 0, 8, 2, zeros(0)), "bad_dimensions"),
    BadImage("N×0 JPEG", lambda: jpeg_size(40, 0), "bad_dimensions"),
    BadImage("4,000×4 PNG", lambda: photo("PNG", 4000, 4), "bad_dimensions"),
    BadImage("1×1 PNG", lambda: photo("PNG", 1, 1), "too_small"),
    BadImage("2×50 GIF", lambda: photo("GIF", 2, 50), "too_small"),
    BadImage("10,000-frame GIF", lambda: gif_of_frames(10_000), "unsupported"),
    BadImage("2-frame GIF", lambda: gif_of_frames(2), "unsupported"),
    BadImage("10,000-frame APNG", lambda: apng(10_000), "unsupported"),
    BadImage("animated WebP", animated_webp, "unsupported"),
    BadImage("PDF", lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "unsupported"),
    BadImage("PDF called a PDF", lambda: b"%PDF-1.7\n", "unsupported", "application/pdf"),
    BadImage("PDF called a PNG", lambda: b"%PDF-1.7\n", "unsupported", "image/png"),
    BadImage("EPS", lambda: photo("EPS"), "unsupported"),
    BadImage("PSD", lambda: b"8BPS\0\1" + bytes(60), "unsupported"),
    BadImage("FITS", lambda: b"SIMPLE  =                    T".ljust(2880), "unsupported"),
    BadImage("BMP", lambda: photo("BMP"), "unsupported", "image/bmp"),
    BadImage("TIFF", lambda: photo("TIFF"), "unsupported"),
    BadImage("ICO", lambda: photo("ICO"), "unsupported"),
    BadImage("AVIF", lambda: b"\0\0\0\x20ftypavif" + bytes(40), "unsupported"),
    BadImage("SVG", lambda: b"<?xml version='1.0'?><svg></svg>", "unsupported"),
)
