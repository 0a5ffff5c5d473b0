"""Way (c): sentence-transformers' CrossEncoder with its logit-score head, around the same model.

From a folder it cannot load this family where torchvision is missing, which the video processor
asks for. So it is put together of modules: the library's model behind the features that the
family's processor would give, left-padded as the head needs them, and the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.fine_ways import FIRST_TOKENS, features
from benchmarks.fine_workloads import Workload


@dataclass(frozen=True, slots=True)
class CrossEncoding:
    """`encoder` is None where it does not run here, and `note` says why."""

    encoder: Any
    note: str

    def run(self, load: Workload, batch: int) -> list[float]:
        """First label's logit less the second's, of each one's first token, through `predict`.

        `predict` gets a text a pair, of which it looks at the length, to sort by it as it always
        does; our module finds the pair by the number in it.
        """
        self.encoder[0].pairs = load
        texts = [(str(no).rjust(one.length), "") for no, one in enumerate(load.prompts)]
        scores = self.encoder.predict(
            texts, batch_size=batch, activation_fn=torch.nn.Identity(), show_progress_bar=False
        )
        return [float(score) for score in scores]


def cross_encoding(model: Any, device: torch.device) -> CrossEncoding:
    try:
        return CrossEncoding(_encoder(model, device), "sentence-transformers' own `predict`")
    except ImportError as exc:
        return CrossEncoding(None, f"not run: {exc}")


def _encoder(model: Any, device: torch.device) -> Any:
    """Raises ImportError where the library, or what we take from it, is not there."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules.input_module import InputModule
    from sentence_transformers.cross_encoder.modules.logit_score import LogitScore

    class Prompts(InputModule):  # type: ignore[misc, unused-ignore]
        """The model, and the prompts of a workload by their numbers."""

        pairs: Workload

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
            self.model = model

        def preprocess(self, inputs: Any, prompt: Any = None, **_: Any) -> Any:
            nos = [int(number) for number, _nothing in inputs]
            prompts, images = self.pairs.prompts, self.pairs.images
            return features([prompts[n] for n in nos], [images[n] for n in nos], device, left=True)

        def forward(self, features: Any, **_: Any) -> Any:
            logits = self.model(**features, use_cache=False, logits_to_keep=1).logits
            return {**features, "causal_logits": logits}

        def save(self, output_path: str, *_: Any, **__: Any) -> None:
            raise NotImplementedError

    (yes,), (no,) = FIRST_TOKENS.ids
    head = LogitScore(yes, no)
    return CrossEncoder(modules=[Prompts(), head], device=str(device))
