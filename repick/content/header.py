"""What an image says of itself: format, size, frames, orientation, read without a decoder.

A size is known, and refused if need be, before a decoder has allocated a pixel (libwebp, for one,
allocates its canvas on opening). The decoder is then given `payload`: of PNG and JPEG, the file
without its metadata, so that no parser of EXIF, XMP, ICC or text meets bytes that nobody needs.
Formats: PNG (W3C PNG 3), JPEG (ITU-T T.81), GIF89a, WebP (RFC 9649); orientation from EXIF 2.3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_UNTYPED = frozenset({"", "application/octet-stream", "binary/octet-stream"})

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_OTHER_MAGIC = (  # known well enough to say "unsupported" instead of "not an image"
    *(b"%!PS", b"\xc5\xd0\xd3\xc6", b"8BPS", b"SIMPLE  =", b"BM", b"II*\0", b"MM\0*", b"II+\0"),
    *(b"MM\0+", b"\0\0\1\0", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\xff\x0a", b"<svg"),
    *(b"\0\0\0\x0cJXL ", b"qoif", b"gimp xcf", b"\x76\x2f\x31\x01", b"P4\n", b"P5\n", b"P6\n"),
)


@dataclass(frozen=True, slots=True)
class Header:
    """`frames` counts no further than 2; `orientation` is EXIF's 1..8; `depth` is PNG's bits."""

    width: int
    height: int
    payload: bytes
    frames: int = 1
    orientation: int = 1
    depth: int = 8


def normal_type(declared: str | None) -> str | None:
    """A declared media type without parameters and old names; None where it says nothing."""
    bare = (declared or "").partition(";")[0].strip().lower()
    return None if bare in _UNTYPED else _ALIASES.get(bare, bare)


def sniff(data: bytes) -> str | None:
    """The supported media type that the first bytes show, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def known_but_unsupported(data: bytes) -> bool:
    """PDF, EPS, PSD, FITS, BMP, TIFF, HEIF, AVIF, SVG and their like."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    svg = start.startswith(b"<?xml") and b"<svg" in start
    other = data.startswith(_OTHER_MAGIC) or start.startswith(_OTHER_MAGIC)
    return other or svg or b"%PDF-" in start or data[4:8] == b"ftyp"


def read_header(data: bytes, media_type: str) -> Header:
    """The header of an image of a supported type.

    Raises struct.error, IndexError or ValueError where it is truncated or makes no sense.
    """
    return _READERS[media_type](data)


def _png(data: bytes) -> Header:
    width, height, depth = struct.unpack_from(">IIB", data, 16)
    kept, frames, orientation = [data[:8]], 1, 1
    for kind, chunk in _png_chunks(data):
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(chunk)
        elif kind == b"acTL":
            frames = max(frames, 1 if chunk[8:12] == b"\0\0\0\1" else 2)
        elif kind == b"eXIf":
            orientation = exif_orientation(chunk[8:-4])
    return Header(width, height, b"".join(kept), frames, orientation, depth)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, chunk with its length, name and CRC); a chunk cut short is given as far as it goes."""
    if data[12:16] != b"IHDR":
        raise ValueError("the first chunk is not IHDR")
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position : position + 12 + length]
        position += 12 + length


def _jpeg(data: bytes) -> Header:
    size, orientation = None, None
    kept = [data[:2]]
    for marker, start, end in _jpeg_segments(data):
        segment = data[start:end]
        if marker == 0xE1 and segment[4:10] == b"Exif\0\0" and orientation is None:
            orientation = exif_orientation(segment[10:])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = struct.unpack_from(">HH", segment, 5)
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            kept.append(segment)
    if size is None:
        raise ValueError("a scan without a frame header")
    return Header(size[1], size[0], b"".join(kept), orientation=orientation or 1)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment; the first scan's goes to the end of the file."""
    position = 2
    while True:
        position = data.index(b"\xff", position)
        while data[position + 1] == 0xFF:
            position += 1
        marker = data[position + 1]
        if marker == 0xDA:
            yield marker, position, len(data)
            return
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD9:
            position += 2
            continue
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        yield marker, position, end
        position = end


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    frames = 0
    for left, top, frame_width, frame_height in _gif_frames(data):
        frames += 1
        if frames == 2:
            break
        # A frame may lie outside the screen; the decoder's canvas then grows to hold it.
        width, height = max(width, left + frame_width), max(height, top + frame_height)
    return Header(width, height, data, frames)


def _gif_frames(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(left, top, width, height) of each image descriptor, as far as the file goes."""
    position = 13 + _gif_table(data[10])
    while position < len(data):
        block = data[position]
        if block == 0x3B:
            return
        if block == 0x21:
            position = _after_sub_blocks(data, position + 2)
        elif block == 0x2C:
            yield struct.unpack_from("<HHHH", data, position + 1)
            table = _gif_table(data[position + 9])
            position = _after_sub_blocks(data, position + 11 + table)
        else:
            position += 1


def _gif_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, position: int) -> int:
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        frames = 2 if data[20] & 0x02 else 1
        return Header(width, height, data, frames, _webp_orientation(data))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(width & 0x3FFF, height & 0x3FFF, data)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, data)
    raise ValueError("no WebP bitstream")


def _webp_orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return exif_orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return 1


def exif_orientation(exif: bytes) -> int:
    """Tag 0x0112 of the first directory; 1 (upright) where it is absent or EXIF is corrupt."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _kind, _count, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


_READERS: dict[str, Callable[[bytes], Header]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/gif": _gif,
    "image/webp": _webp,
}
MEDIA_TYPES = frozenset(_READERS)
"""What we decode; every other format is `unsupported`."""
