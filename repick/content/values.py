"""What the rest of the system holds of a content: its parts, its identity, its loaded form."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class Media:
    """An original image as received: its hash, sniffed type, and size after EXIF rotation."""

    sha256: bytes
    media_type: str
    width: int
    height: int
    byte_length: int


@dataclass(frozen=True, slots=True)
class Content:
    """A text, an image, or both; immutable. A query's instruction is part of its content."""

    text: str | None = None
    media: Media | None = None
    instruction: str | None = None

    @property
    def sha256(self) -> bytes:
        """Identity in a tenant: each part with its length, so that parts cannot run together."""
        digest = hashlib.sha256(b"repick-content-1")
        media = self.media.sha256 if self.media else None
        for part in (_utf8(self.text), media, _utf8(self.instruction)):
            digest.update(b"-" if part is None else len(part).to_bytes(8, "big") + part)
        return digest.digest()


@dataclass(frozen=True, slots=True)
class LoadedContent:
    """A content in a worker's hands: its text and its decoded RGB pixels.

    `media_sha256` identifies the image for caches; None exactly where `image` is None.
    """

    content_id: int
    text: str | None = None
    image: Image.Image | None = None
    media_sha256: bytes | None = None
    instruction: str | None = None


def _utf8(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8")
