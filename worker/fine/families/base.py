"""What the scorer asks of a model family: everything that differs between architectures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image
from torch import Tensor, nn

from repick.specs import ImageLimits
from worker.fine.prompts import ImageSegment, Segment


class PreparedImage:
    """An image with its place in a prompt; its patches are made when first asked for, once.

    The picture is let go as soon as there are patches. Thread-safe.
    """

    def __init__(self, segment: ImageSegment, make_pixels: Callable[[], Tensor]) -> None:
        self.segment = segment
        self._make: Callable[[], Tensor] | None = make_pixels
        self._pixels: Tensor | None = None
        self._lock = threading.Lock()

    @property
    def pixels(self) -> Tensor:
        """Resized, normalised patches (patches, patch values)."""
        with self._lock:
            if self._pixels is None:
                assert self._make is not None
                self._pixels, self._make = self._make(), None
            return self._pixels

    @property
    def made(self) -> bool:
        """Whether there are patches yet."""
        return self._pixels is not None

    def make_pixels(self) -> None:
        """Make the patches now, on this thread, so that nobody has to wait for them later."""
        _ = self.pixels


@dataclass(frozen=True, slots=True)
class VisualTokens:
    """An image as the language model sees it, on the device.

    `tokens` is (n, D), projected; `deep` holds, for families that have them, the features (n, D)
    that are added to the visual positions after each of the first layers.
    """

    tokens: Tensor
    deep: tuple[Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self.tokens, *self.deep))

    def to(self, device: Any) -> VisualTokens:
        return VisualTokens(self.tokens.to(device), tuple(part.to(device) for part in self.deep))


@dataclass(frozen=True, slots=True)
class GatedFFN:
    """A gated feed-forward network: act(gate(x)) * up(x), projected back."""

    module: nn.Module
    gate_weight: Tensor
    activation: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Decoder:
    """The language layers as enhancement and readout need them; `head` is (V, D).

    `entries` holds the first norm of each layer: its input is the hidden state that the layer
    before it put out.
    """

    layers: tuple[nn.Module, ...]
    entries: tuple[nn.Module, ...]
    ffns: tuple[GatedFFN, ...]
    final_norm: nn.Module
    head: Tensor


class Family(Protocol):
    """One loaded model. Methods up to `positions` need no device and are thread-safe."""

    name: str
    tokenizer: Any
    image_token_id: int
    image_brackets: tuple[tuple[int, ...], tuple[int, ...]]
    head_size: int
    decoder: Decoder

    def grid(self, image: Image.Image, limits: ImageLimits) -> tuple[int, int, int]:
        """Patches (t, h, w) of an image resized within `limits`; ContentError: bad_dimensions."""
        ...

    def visual_length(self, grid: tuple[int, int, int]) -> int:
        """Visual tokens of an image of so many patches."""
        ...

    def patches(self, image: Image.Image, limits: ImageLimits) -> Tensor:
        """Resized, normalised patches (patches, patch values)."""
        ...

    def positions(self, segments: Sequence[Segment], start: int = 0) -> tuple[Tensor, int]:
        """Position ids (3, T) of a run of segments that begins at `start`, and the next start."""
        ...

    def encode_images(self, images: Sequence[PreparedImage]) -> list[VisualTokens]:
        """Visual tokens of each image, from one call of the vision tower."""
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings (..., D) of ids (...)."""
        ...

    def rotary(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (B, T, d) for positions (3, B, T), in the dtype of `hidden`."""
        ...

    def attend(
        self,
        layer: int,
        normed: Tensor,
        rotary: tuple[Tensor, Tensor],
        attention: Callable[[Tensor, Tensor, Tensor, float], Tensor],
        rows: Tensor | None = None,
    ) -> Tensor:
        """A layer's attention: what is added to the hidden states, of normed ones (N, D).

        `attention` gives (R, H, d) of rotated query (H, R, d), key and value (K, N, d), and scale;
        the query is of `rows` (R,), or of all where they are None.
        """
        ...

    def hidden_states(
        self, ids: Tensor, positions: Tensor, visual: Sequence[VisualTokens]
    ) -> Tensor:
        """Final normed hidden states (B, T, D) of right-padded ids (B, T), positions (3, B, T).

        The library's own forward pass. `visual` holds the visual tokens of all images in the
        order in which they stand in `ids`.
        """
        ...
