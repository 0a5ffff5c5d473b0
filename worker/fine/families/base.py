"""What the scorer asks of a model family: everything that differs between architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image
from torch import Tensor, nn

from repick.specs import ImageLimits
from worker.fine.prompts import ImageSegment, Segment


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image resized, normalised and cut into patches; `pixels` is (patches, patch values)."""

    segment: ImageSegment
    pixels: Tensor


@dataclass(frozen=True, slots=True)
class GatedFFN:
    """A gated feed-forward network: act(gate(x)) * up(x), projected back."""

    module: nn.Module
    gate_weight: Tensor
    activation: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Decoder:
    """The language layers as enhancement and readout need them; `head` is (V, D)."""

    layers: tuple[nn.Module, ...]
    ffns: tuple[GatedFFN, ...]
    final_norm: nn.Module
    head: Tensor


class Family(Protocol):
    """One loaded model. The first group of methods needs no device and is thread-safe."""

    name: str
    tokenizer: Any
    image_token_id: int
    image_brackets: tuple[tuple[int, ...], tuple[int, ...]]
    decoder: Decoder

    def prepare_image(self, image: Image.Image, key: bytes, limits: ImageLimits) -> PreparedImage:
        """Resize within `limits` and cut into patches; ContentError where that cannot be."""
        ...

    def positions(self, segments: Sequence[Segment], start: int = 0) -> tuple[Tensor, int]:
        """Position ids (3, T) of a run of segments that begins at `start`, and the next start."""
        ...

    def encode_images(self, images: Sequence[PreparedImage]) -> list[Tensor]:
        """Projected visual tokens (n, D) of each image, on the device."""
        ...

    def hidden_states(self, ids: Tensor, positions: Tensor, visual: Sequence[Tensor]) -> Tensor:
        """Final normed hidden states (B, T, D) of right-padded ids (B, T), positions (3, B, T).

        `visual` holds the visual tokens of all images in the order in which they stand in `ids`.
        """
        ...
