"""One multimodal model that judges pairs, each by one forward pass a question (METHOD §2).

Pairs are prepared on any thread and scored on the one device thread. A score is a function of its
pair alone: what is shared, packed or at hand changes how fast it comes, not what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from types import MappingProxyType
from weakref import WeakValueDictionary

import torch
import transformers

from repick.content import LoadedContent
from repick.errors import ContentError, ModelError
from repick.jobs import PairScore
from repick.specs import Enhancement, ImageLimits, LengthPolicy, Readout, ScorerSpec
from repick.wording import QUESTIONS, WORDS
from worker.checkpoints import Checkpoint
from worker.fine.engine import Engine
from worker.fine.families import open_family
from worker.fine.families.base import Family, PreparedImage
from worker.fine.limits import MemoryLimits
from worker.fine.placement import device_name, pick_device, pick_dtype
from worker.fine.prompts import ImageSegment, Prompt, PromptWriter, layout
from worker.fine.readout import Labels, find_labels, judge
from worker.fine.tokens import PlainTokenizer, read_frame
from worker.selftest import check_golden, failed, golden_pairs


@dataclass(frozen=True, slots=True)
class PreparedPair:
    """A pair ready for the device: a prompt for each pass of its readout, and its images."""

    spec: ScorerSpec
    prompts: tuple[Prompt, ...]
    images: tuple[PreparedImage, ...]
    cut_tokens: int = 0
    """Tokens of the document's text that were cut off so that the pair fits."""

    @property
    def length(self) -> int:
        """Tokens of the longest prompt."""
        return max(prompt.length for prompt in self.prompts)


class FineModel:
    """One model on one device with every specification it serves."""

    def __init__(self, family: Family, writer: PromptWriter, engine: Engine) -> None:
        self.family, self.engine, self._writer = family, engine, writer
        self._labels: dict[Readout, tuple[Labels, ...]] = {}
        self._images: WeakValueDictionary[tuple[bytes, ImageLimits], PreparedImage] = (
            WeakValueDictionary()
        )
        self.specs: tuple[ScorerSpec, ...] = ()
        self.provenance: Mapping[str, str] = MappingProxyType(
            {
                "device": device_name(family.decoder.head.device),
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
        enhancement: Enhancement = Enhancement(),
        max_tokens: int = 8192,
        limits: MemoryLimits | None = None,
    ) -> FineModel:
        """Load a checkpoint; each readout is registered with this enhancement and without.

        `device` and `dtype` may be "auto": the accelerator at hand, and bfloat16 on CUDA;
        `limits` default to what suits the device. Raises UnsupportedFamily, and ModelError for a
        checkpoint that cannot serve the readouts.
        """
        if not 0 < images.min_pixels <= images.max_pixels:
            raise ModelError(
                f"no image can have {images.min_pixels} to {images.max_pixels} pixels "
                "(REPICK_MIN_PIXELS, REPICK_MAX_PIXELS)"
            )
        on = pick_device(device)
        family = open_family(checkpoint.folder, on, pick_dtype(dtype, on))
        plain = PlainTokenizer(family.tokenizer.backend_tokenizer)
        frame = read_frame(family.tokenizer, checkpoint.folder)
        engine = Engine(family, checkpoint.weights_sha256, limits or MemoryLimits.of(on))
        try:
            model = cls(family, PromptWriter(plain, frame, family.image_brackets), engine)
            model._labels = {readout: find_labels(readout, plain.encode) for readout in readouts}
        except ContentError as exc:
            raise ModelError(
                f"the tokenizer of {checkpoint.folder.name} takes words of a question for control "
                "tokens: use the tokenizer of the model that it was made from"
            ) from exc
        model.specs = tuple(
            model._spec(checkpoint, readout, setting, images, max_tokens)
            for readout, setting in product(readouts, (enhancement, None))
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
        """Tokens of a pair, and patches of its images unless they are known; thread-safe.

        Beyond the specification's max_tokens the document is cut where its length policy says so.
        Raises ContentError: `too_long`, `bad_dimensions`.
        """
        if spec.length_policy is LengthPolicy.REFUSE:
            return self._prepare(query, document, spec)
        whole, cut = document, 0
        while True:
            try:
                return replace(self._prepare(query, document, spec), cut_tokens=cut)
            except _TooLong as exc:
                # Tokens may join otherwise at the cut, so that it can take another one.
                cut += exc.excess
                document = self._writer.shortened(whole, cut)

    def _prepare(
        self, query: LoadedContent, document: LoadedContent, spec: ScorerSpec
    ) -> PreparedPair:
        blocks, questions = layout(query, document), QUESTIONS[spec.readout]
        draft = self._writer.write(blocks, questions, {})
        _refuse_too_long(draft, spec)
        images = {
            no: self._image(block.content, spec.images)
            for no, block in enumerate(blocks)
            if block.content.image is not None
        }
        if images:
            segments = {no: image.segment for no, image in images.items()}
            draft = self._writer.write(blocks, questions, segments)
            _refuse_too_long(draft, spec)
        return PreparedPair(spec, draft, tuple(images.values()))

    def score(self, pairs: Sequence[PreparedPair]) -> list[PairScore]:
        """Score pairs of one specification on the device, in their order, however many.

        Raises ModelError for a readout that was not loaded, or logits that are not finite.
        """
        return self._judged(pairs, plain=False)

    def score_plain(self, pairs: Sequence[PreparedPair]) -> list[PairScore]:
        """As `score`, one padded batch through the library's own forward pass, nothing shared."""
        return self._judged(pairs, plain=True)

    def plan(self, pairs: Sequence[PreparedPair]) -> list[list[int]]:
        """Numbers of the pairs that are best scored together, a list for each forward pass.

        Pairs that share the front of their prompts come together, within the budget of tokens.
        """
        return [list(batch.pairs) for batch in self.engine.plan([one.prompts for one in pairs])]

    def memory(self) -> Mapping[str, int]:
        """Bytes kept for reuse, and what the device has allocated, now and at most."""
        return self.engine.memory()

    def self_test(self, spec: ScorerSpec) -> float:
        """The mean label mass of the golden pairs.

        Raises SelfTestFailed where they break the model or are not told apart; the latter is not
        asked of untrained weights, whose scores mean nothing.
        """
        try:
            scores = self.score([self.prepare(*pair, spec) for pair in golden_pairs()])
        except Exception as exc:  # what breaks here would break every job
            raise failed(spec, f"it cannot score the golden pairs: {exc}") from exc
        if not spec.untrained:
            check_golden(spec, scores)
        return fmean(score.label_mass for score in scores)

    def _judged(self, pairs: Sequence[PreparedPair], *, plain: bool) -> list[PairScore]:
        if not pairs:
            return []
        spec = pairs[0].spec
        if any(pair.spec != spec for pair in pairs):
            raise ValueError("a batch has pairs of one specification only")
        if spec.readout not in self._labels:
            raise ModelError(f"readout {spec.readout} was not loaded", scorer=spec.name)
        read = self.engine.read_plain if plain else self.engine.read
        passes = read(
            [pair.prompts for pair in pairs],
            [pair.images for pair in pairs],
            self._labels[spec.readout],
            spec,
        )
        return [
            replace(judge(spec.readout, readings), cut_tokens=pair.cut_tokens)
            for pair, readings in zip(pairs, passes, strict=True)
        ]

    def _image(self, content: LoadedContent, limits: ImageLimits) -> PreparedImage:
        """An image's place in a prompt; resized here unless its visual tokens are at hand.

        One object an image while any pair holds it: a query's image is not resized for each pair.
        """
        key = _image_key(content), limits
        prepared = self._images.get(key)
        if prepared is None:
            assert content.image is not None
            image = content.image
            grid = self.family.grid(image, limits)
            segment = ImageSegment(key[0], grid, self.family.visual_length(grid))
            prepared = PreparedImage(segment, lambda: self.family.patches(image, limits))
            prepared = self._images.setdefault(key, prepared)
        if not self.engine.vision.has(prepared.segment, limits):
            prepared.make_pixels()
        return prepared


def _image_key(content: LoadedContent) -> bytes:
    if content.media_sha256 is None:
        raise ValueError("a content with an image carries its media_sha256")
    return content.media_sha256


def _refuse_too_long(prompts: Sequence[Prompt], spec: ScorerSpec) -> None:
    length = max(prompt.length for prompt in prompts)
    if length > spec.max_tokens:
        raise _TooLong(length, spec.max_tokens)


class _TooLong(ContentError):
    """The prompt does not fit, by `excess` tokens."""

    def __init__(self, length: int, most: int) -> None:
        super().__init__("too_long", f"the pair takes {length} tokens; this scorer reads {most}")
        self.excess = length - most
