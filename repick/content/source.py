"""An image inside a JSON body: base64, or a data URL, becomes bytes and the type it claims."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from repick.content.address import ImageAddress, read_address
from repick.content.header import normal_type
from repick.errors import InvalidField

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_WHITESPACE = str.maketrans("", "", " \t\r\n")
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)

DOCUMENT_TYPES = frozenset({"application/pdf", "application/postscript", "application/fits"})
"""Not images, but people send them as such: they fail as an item, beside a list that goes on."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Bytes as received, and the media type that their sender claims for them, if any."""

    data: bytes
    declared_type: str | None = None


def read_image_source(
    value: str, field: str, max_bytes: int, hosts: Sequence[str] = ()
) -> ImageSource | ImageAddress:
    """Bytes of a base64 string or of `data:image/…;base64,…`; or an address to fetch them from,
    where the operator allows `hosts`.

    Raises InvalidField with `blank`, what read_address raises (any other scheme),
    `unsupported_media_type` (not an image, or SVG), `invalid_base64`, or `too_large` (over
    `max_bytes`, found before anything is decoded).
    """
    value = value.strip()
    declared_type = None
    if value[:5].lower() == "data:":
        declared_type, value = _split_data_url(value[5:], field)
    elif _SCHEME.match(value):
        return read_address(value, field, hosts)
    return ImageSource(_decode(value.translate(_WHITESPACE), field, max_bytes), declared_type)


def _split_data_url(rest: str, field: str) -> tuple[str | None, str]:
    """(declared type or None, base64 payload) of what follows `data:` (RFC 2397)."""
    head, comma, payload = rest.partition(",")
    media_type, *parameters = (part.strip().lower() for part in head.split(";"))
    declared = _image_type(media_type, field) if media_type else None
    if not comma or "base64" not in parameters:
        raise InvalidField(field, "a data URL of an image is `;base64,`", code="invalid_base64")
    return declared, unquote(payload) if "%" in payload else payload


def _image_type(media_type: str, field: str) -> str | None:
    image = media_type.startswith("image/") and not media_type.startswith("image/svg")
    known = image or media_type in DOCUMENT_TYPES or media_type == "application/octet-stream"
    if not (known and _TYPE.fullmatch(media_type)):
        detail = "the data URL's media type is not that of a supported image"
        raise InvalidField(field, detail, code="unsupported_media_type")
    return normal_type(media_type)


def _decode(text: str, field: str, max_bytes: int) -> bytes:
    if not text:
        raise InvalidField(field, "the image is empty", code="blank")
    if len(text) // 4 * 3 - text[-2:].count("=") > max_bytes:
        raise InvalidField(field, f"the image is over {max_bytes} bytes", code="too_large")
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as exc:
        detail = "not base64 (standard alphabet, padded): send the file's bytes, not its path"
        raise InvalidField(field, detail, code="invalid_base64") from exc
