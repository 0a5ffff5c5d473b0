"""The coarse stage's encoder: a content becomes a unit vector (METHOD §1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    CLIPModel,
    Siglip2Model,
    SiglipModel,
)

from repick.content import LoadedContent
from repick.errors import ContentError, ModelError, UnsupportedFamily
from repick.specs import EncoderSpec
from worker.checkpoints import Checkpoint
from worker.coarse_images import ImageReader
from worker.coarse_text import TextEncoder, TextRules
from worker.fine.placement import device_name, pick_device, pick_dtype

Inputs = Mapping[str, torch.Tensor]

BATCH = 32
"""Texts or images in one forward pass."""

_SIGLIP = TextRules(lower_case=True, full_width=True, pools_at_end=False)
FAMILIES: Mapping[str, tuple[Any, TextRules]] = {
    "clip": (CLIPModel, TextRules(lower_case=False, full_width=False, pools_at_end=True)),
    "siglip": (SiglipModel, _SIGLIP),
    "siglip2": (Siglip2Model, _SIGLIP),
}


class Role(StrEnum):
    """Which side of a pair a content is on; it sets the weight of the image in a mixed one."""

    QUERY = "query"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Encoder:
    """A CLIP- or SigLIP-like model with its tokenizer and image processor.

    `provenance` records device and library versions, which are no part of the identity.
    """

    spec: EncoderSpec
    provenance: Mapping[str, str]
    _model: Any
    _texts: TextEncoder
    _images: ImageReader

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, device: str, dtype: str) -> Encoder:
        """Load onto a device ("auto", "cpu", "cuda", …) in a dtype ("auto", "float32", …).

        Raises UnsupportedFamily for a model that is not listed in FAMILIES, and ModelError where
        a part of the checkpoint is missing, unreadable or does not fit the rest.
        """
        place = pick_device(device)
        number = pick_dtype(dtype, place)
        try:
            family, model = _load_model(checkpoint, place, number)
            tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
            images = ImageReader.of(_image_processor(checkpoint))
        except ModelError:
            raise
        except Exception as exc:  # tokenizers raises no less, transformers nearly everything
            raise ModelError(f"cannot load {checkpoint.name}: {exc}", name=checkpoint.name) from exc
        texts = TextEncoder.of(tokenizer, FAMILIES[family][1], model.config.text_config)
        spec = EncoderSpec(
            name=checkpoint.name,
            family=family,
            weights_sha256=checkpoint.weights_sha256,
            tokenizer_sha256=checkpoint.tokenizer_sha256,
            dimension=_dimension(model, texts),
            dtype=str(number).removeprefix("torch."),
            untrained=checkpoint.untrained,
        )
        return cls(spec, _provenance(place), model, texts, images)

    def encode(self, contents: Sequence[LoadedContent], role: Role) -> NDArray[np.float32]:
        """Unit vectors (N, D) in the order of `contents`; one's vector is the same in any batch.

        A content with both parts becomes normalise(w·image + (1−w)·text) of its unit vectors,
        with the role's w (METHOD §1); an instruction is for the fine model and changes nothing.
        Of a text, what exceeds the tower's context is not seen. Raises ContentError for a content
        with neither part and ModelError for a vector that is not finite or has no direction.
        """
        return self.prepare(contents, role)()

    def prepare(
        self, contents: Sequence[LoadedContent], role: Role
    ) -> Callable[[], NDArray[np.float32]]:
        """`encode` in two steps: here images are resized and texts tokenised, on any thread.

        What it gives runs the towers, and is for the thread that has the device.
        """
        texts = {no: c.text for no, c in enumerate(contents) if c.text and not c.text.isspace()}
        images = {no: c.image for no, c in enumerate(contents) if c.image is not None}
        for no, content in enumerate(contents):
            if no not in texts and no not in images:
                raise ContentError(
                    "empty_content", "neither text nor image", content_id=content.content_id
                )
        # What runs later holds no images: a decoded one may take a hundred times its resized one.
        inputs = (
            ("text", tuple(texts), list(self._text_inputs(list(texts.values())))),
            ("image", tuple(images), list(self._image_inputs(list(images.values())))),
        )
        weight, count = self._image_weight(role), len(contents)
        both = texts.keys() & images.keys()

        def vectors() -> NDArray[np.float32]:
            sums = np.zeros((count, self.spec.dimension), np.float32)
            for part, places, batches in inputs:
                rows = (row for batch in batches for row in _forward(self._model, part, batch))
                share = weight if part == "image" else 1 - weight
                for no, row in zip(places, rows, strict=True):
                    sums[no] += row * (share if no in both else 1)
            return unit_rows(sums)

        return vectors

    def _image_weight(self, role: Role) -> float:
        if role is Role.QUERY:
            return self.spec.query_image_weight
        return self.spec.document_image_weight

    def _text_inputs(self, texts: Sequence[str]) -> Iterator[Inputs]:
        for first in range(0, len(texts), BATCH):
            yield self._texts(texts[first : first + BATCH])

    def _image_inputs(self, images: Sequence[Image.Image]) -> Iterator[Inputs]:
        for first in range(0, len(images), BATCH):
            yield self._images(images[first : first + BATCH])


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row over its length; ModelError where a row is not finite or has no length."""
    wide = rows.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths)) or np.any(lengths == 0):
        raise ModelError("the encoder gave a vector that is not finite or has no direction")
    unit: NDArray[np.float32] = (wide / lengths).astype(np.float32)
    return unit


@torch.inference_mode()
def _forward(model: Any, part: str, inputs: Inputs) -> NDArray[np.float32]:
    """Unit vectors (B, D) of one batch, in float32 from the projected output on."""
    call = model.get_text_features if part == "text" else model.get_image_features
    moved = {
        name: value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
        for name, value in inputs.items()
    }
    features: torch.Tensor = call(**moved).pooler_output  # (B, D)
    return unit_rows(features.float().cpu().numpy())


def _load_model(
    checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype
) -> tuple[str, Any]:
    """The family's name and its model in evaluation mode, every weight from the checkpoint."""
    config: Any = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
    if config.model_type not in FAMILIES:
        raise UnsupportedFamily(
            f"{checkpoint.name} is a {config.model_type!r} model; an encoder is one of "
            f"{', '.join(FAMILIES)}",
            name=checkpoint.name,
        )
    model, report = FAMILIES[config.model_type][0].from_pretrained(
        checkpoint.folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=dtype,
        output_loading_info=True,
    )
    lacking = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lacking:
        raise ModelError(f"{checkpoint.name} lacks {len(lacking)} weights, such as {lacking[0]}")
    return config.model_type, model.to(device).eval()


def _image_processor(checkpoint: Checkpoint) -> Any:
    """The processor that resizes with Pillow, also where torchvision, which differs, is there."""
    auto: Any = AutoImageProcessor
    return auto.from_pretrained(checkpoint.folder, local_files_only=True, backend="pil")


def _dimension(model: Any, texts: TextEncoder) -> int:
    """D, found by encoding one text: the families' configurations name it in different ways."""
    return int(_forward(model, "text", texts(["a"])).shape[1])


def _provenance(device: torch.device) -> dict[str, str]:
    libraries = ("torch", "transformers", "tokenizers", "pillow")
    return {"device": device_name(device), **{name: version(name) for name in libraries}}
