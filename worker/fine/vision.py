"""Visual tokens, computed once an image and not once a pair (METHOD §2; DESIGN, Speed)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from repick.specs import ImageLimits
from worker.fine.families.base import Family, PreparedImage, VisualTokens
from worker.fine.lru import ByteLRU
from worker.fine.prompts import ImageSegment


@dataclass(frozen=True, slots=True)
class VisionKey:
    """All that changes an image's visual tokens; `image` has the hash of its bytes."""

    image: ImageSegment
    limits: ImageLimits
    weights_sha256: str
    dtype: torch.dtype


class VisionStore:
    """Visual tokens of the images used last: on the device, then on the host.

    What falls out of the device's budget goes to the host, where that has one; what is asked for
    again comes back without the vision tower. `encoded` counts the images that went through it.
    """

    def __init__(
        self,
        family: Family,
        weights_sha256: str,
        device: torch.device,
        *,
        device_bytes: int,
        host_bytes: int,
    ) -> None:
        self._family, self._weights, self._device = family, weights_sha256, device
        self._host: ByteLRU[VisionKey, VisualTokens] = ByteLRU(host_bytes, _nbytes)
        self._near: ByteLRU[VisionKey, VisualTokens] = ByteLRU(
            device_bytes, _nbytes, self._to_host if host_bytes else None
        )
        self.encoded = 0

    def has(self, image: ImageSegment, limits: ImageLimits) -> bool:
        """Whether this image would not need its pixels now. Thread-safe."""
        key = self._key(image, limits)
        return key in self._near or key in self._host

    def tokens(
        self, images: Iterable[PreparedImage], limits: ImageLimits
    ) -> dict[ImageSegment, VisualTokens]:
        """The visual tokens of a batch's images: one call of the vision tower for all misses."""
        wanted = {image.segment: image for image in images}
        found = {segment: self._kept(self._key(segment, limits)) for segment in wanted}
        misses = [image for segment, image in wanted.items() if found[segment] is None]
        made = self._encode(misses) if misses else {}
        for segment, tokens in made.items():
            self._near.put(self._key(segment, limits), tokens)
        return {segment: tokens for segment, tokens in (found | made).items() if tokens is not None}

    @property
    def nbytes(self) -> tuple[int, int]:
        """Bytes kept on the device and on the host."""
        return self._near.used, self._host.used

    def clear(self) -> None:
        self._near.clear()
        self._host.clear()

    def _kept(self, key: VisionKey) -> VisualTokens | None:
        near = self._near.get(key)
        if near is not None:
            return near
        host = self._host.get(key)
        if host is None:
            return None
        near = host.to(self._device)
        self._near.put(key, near)
        return near

    def _encode(self, images: list[PreparedImage]) -> dict[ImageSegment, VisualTokens]:
        """Copies of the tower's output: a slice would keep the whole batch's alive."""
        self.encoded += len(images)
        tokens = self._family.encode_images(images)
        return {
            image.segment: VisualTokens(one.tokens.clone(), tuple(d.clone() for d in one.deep))
            for image, one in zip(images, tokens, strict=True)
        }

    def _to_host(self, key: VisionKey, tokens: VisualTokens) -> None:
        if key not in self._host:
            self._host.put(key, tokens.to("cpu"))

    def _key(self, image: ImageSegment, limits: ImageLimits) -> VisionKey:
        return VisionKey(image, limits, self._weights, self._family.decoder.head.dtype)


def _nbytes(tokens: VisualTokens) -> int:
    return tokens.nbytes
