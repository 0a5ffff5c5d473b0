"""One multimodal model that judges pairs: the plain path, one forward pass a pair (METHOD §2).

Pairs are prepared on any thread (tokens, patches) and scored in right-padded batches on the one
device thread. Causal attention never looks at what stands behind it, so padding, neighbours and
order change no score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

import torch
import transformers
from torch import Tensor

from repick.content import LoadedContent
from repick.errors import ContentError, ModelError
from repick.jobs import PairScore
from repick.specs import Enhancement, ImageLimits, Readout, ScorerSpec
from worker.checkpoints import Checkpoint
from worker.fine.enhancement import NEVER, Enhancer, Firing
from worker.fine.families import open_family
from worker.fine.families.base import Family, PreparedImage
from worker.fine.placement import device_name, pick_device, pick_dtype
from worker.fine.prompts import QUESTIONS, ImageSegment, Prompt, PromptWriter, layout
from worker.fine.readout import (
    WORDS,
    Labels,
    Reading,
    find_labels,
    judge,
    read,
    vocabulary_logits,
)
from worker.fine.tokens import PlainTokenizer, read_frame
from worker.selftest import check_golden, golden_pairs


@dataclass(frozen=True, slots=True)
class PreparedPair:
    """A pair ready for the device: a prompt for each pass of its readout, and its images."""

    spec: ScorerSpec
    prompts: tuple[Prompt, ...]
    images: tuple[PreparedImage, ...]

    @property
    def length(self) -> int:
        """Tokens of the longest prompt: what a batch is padded to."""
        return max(prompt.length for prompt in self.prompts)


class FineModel:
    """One model on one device with every specification it serves."""

    def __init__(self, family: Family, writer: PromptWriter, device: torch.device) -> None:
        self.family, self._writer, self._device = family, writer, device
        self._enhancer = Enhancer(family.decoder)
        self._labels: dict[Readout, tuple[Labels, ...]] = {}
        self.specs: tuple[ScorerSpec, ...] = ()
        self.provenance: Mapping[str, str] = MappingProxyType(
            {
                "device": device_name(device),
                "dtype": str(family.decoder.head.dtype).removeprefix("torch."),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            }
        )

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        *,
        readouts: Sequence[Readout],
        device: str,
        dtype: str,
        images: ImageLimits,
        max_tokens: int = 8192,
    ) -> FineModel:
        """Load a checkpoint; each readout is registered with enhancement and without.

        `device` and `dtype` may be "auto": the accelerator at hand, and bfloat16 on CUDA. Raises
        UnsupportedFamily, and ModelError for a checkpoint that cannot serve the readouts.
        """
        on = pick_device(device)
        family = open_family(checkpoint.folder, on, pick_dtype(dtype, on))
        plain = PlainTokenizer(family.tokenizer.backend_tokenizer)
        frame = read_frame(family.tokenizer, checkpoint.folder)
        model = cls(family, PromptWriter(plain, frame, family.image_brackets), on)
        model._labels = {readout: find_labels(readout, plain.encode) for readout in readouts}
        model.specs = tuple(
            model._spec(checkpoint, readout, enhancement, images, max_tokens)
            for readout, enhancement in product(readouts, (Enhancement(), None))
        )
        return model

    def _spec(
        self,
        checkpoint: Checkpoint,
        readout: Readout,
        enhancement: Enhancement | None,
        images: ImageLimits,
        max_tokens: int,
    ) -> ScorerSpec:
        return ScorerSpec(
            model=checkpoint.name,
            family=self.family.name,
            weights_sha256=checkpoint.weights_sha256,
            tokenizer_sha256=checkpoint.tokenizer_sha256,
            readout=readout,
            enhancement=enhancement,
            images=images,
            max_tokens=max_tokens,
            dtype=self.provenance["dtype"],
            prompt_sha256=self._writer.sha256(readout, WORDS[readout]),
            untrained=checkpoint.untrained,
        )

    def prepare(
        self, query: LoadedContent, document: LoadedContent, spec: ScorerSpec
    ) -> PreparedPair:
        """Tokens and patches of a pair; on the CPU, thread-safe.

        Raises ContentError: `too_long` beyond the specification's max_tokens, `bad_dimensions`.
        """
        blocks, questions = layout(query, document), QUESTIONS[spec.readout]
        draft = self._writer.write(blocks, questions, {})
        _refuse_too_long(draft, spec)
        images = {
            no: self.family.prepare_image(
                block.content.image, _image_key(block.content), spec.images
            )
            for no, block in enumerate(blocks)
            if block.content.image is not None
        }
        if images:
            segments = {no: image.segment for no, image in images.items()}
            draft = self._writer.write(blocks, questions, segments)
            _refuse_too_long(draft, spec)
        return PreparedPair(spec, draft, tuple(images.values()))

    @torch.inference_mode()
    def score(self, pairs: Sequence[PreparedPair]) -> list[PairScore]:
        """Score pairs of one specification as one batch on the device, in their order.

        Raises ModelError for a readout that was not loaded, or logits that are not finite.
        """
        if not pairs:
            return []
        spec = pairs[0].spec
        if any(pair.spec != spec for pair in pairs):
            raise ValueError("a batch has pairs of one specification only")
        if spec.readout not in self._labels:
            raise ModelError(f"readout {spec.readout} was not loaded", scorer=spec.name)
        visual = self._encode_images(pairs)
        passes = [
            self._read_pass([pair.prompts[no] for pair in pairs], labels, spec, visual)
            for no, labels in enumerate(self._labels[spec.readout])
        ]
        return [judge(spec.readout, readings) for readings in zip(*passes, strict=True)]

    def self_test(self, spec: ScorerSpec) -> None:
        """Score golden pairs; SelfTestFailed where they are not told apart.

        Skipped for untrained weights, whose scores mean nothing.
        """
        if spec.untrained:
            return
        pairs = [self.prepare(query, document, spec) for query, document in golden_pairs()]
        check_golden(spec, self.score(pairs))

    def _encode_images(self, pairs: Sequence[PreparedPair]) -> dict[ImageSegment, Tensor]:
        """Visual tokens (n, D) of the batch's images, each distinct one through the tower once."""
        images = {image.segment: image for pair in pairs for image in pair.images}
        if not images:
            return {}
        tokens = self.family.encode_images(list(images.values()))
        return dict(zip(images, tokens, strict=True))

    def _read_pass(
        self,
        prompts: Sequence[Prompt],
        labels: Labels,
        spec: ScorerSpec,
        visual: Mapping[ImageSegment, Tensor],
    ) -> list[Reading]:
        """One forward pass of a batch, read at each prompt's last position."""
        ids, positions = self._pack(prompts)
        last = torch.tensor([prompt.length - 1 for prompt in prompts], device=self._device)
        seen = [[visual[image] for image in prompt.images] for prompt in prompts]
        with self._enhanced(spec.enhancement, last, seen) as firing:
            in_order = [tokens for parts in seen for tokens in parts]
            hidden = self.family.hidden_states(ids, positions, in_order)  # (B, T, D)
        rows = hidden[torch.arange(len(prompts), device=self._device), last]  # (B, D)
        values = read(vocabulary_logits(rows, self.family.decoder.head), labels).tolist()
        layers = firing.layer.tolist() if firing else [NEVER] * len(prompts)
        return [Reading.of(row, layer) for row, layer in zip(values, layers, strict=True)]

    @contextmanager
    def _enhanced(
        self, setting: Enhancement | None, last: Tensor, seen: Sequence[Sequence[Tensor]]
    ) -> Iterator[Firing | None]:
        if setting is None or not any(seen):  # without an image nothing can fire
            yield None
            return
        with self._enhancer.installed(setting, last, seen) as firing:
            yield firing

    def _pack(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Right-padded ids (B, T) and positions (3, B, T) on the device."""
        width = max(prompt.length for prompt in prompts)
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        positions = torch.zeros(3, len(prompts), width, dtype=torch.long)
        for no, prompt in enumerate(prompts):
            ids[no, : prompt.length] = torch.tensor(prompt.token_ids(self.family.image_token_id))
            positions[:, no, : prompt.length] = self.family.positions(prompt.segments)[0]
        return ids.to(self._device), positions.to(self._device)


def _image_key(content: LoadedContent) -> bytes:
    if content.media_sha256 is None:
        raise ValueError("a content with an image carries its media_sha256")
    return content.media_sha256


def _refuse_too_long(prompts: Sequence[Prompt], spec: ScorerSpec) -> None:
    length = max(prompt.length for prompt in prompts)
    if length > spec.max_tokens:
        raise ContentError(
            "too_long", f"the pair takes {length} tokens; this scorer reads {spec.max_tokens}"
        )
