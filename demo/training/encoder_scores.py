"""What the encoder alone reaches: by class of error, in retrieval of scenes and of emoji."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo.data.emoji import Emoji, Style, load_catalogue
from demo.data.emoji.catalogue import HELD_OUT_STYLE, on_white
from demo.data.scenes import Error
from demo.training.probes import Probe, summary
from demo.training.recipe import SIDE
from repick.content import LoadedContent
from worker.checkpoints import open_checkpoint
from worker.coarse import Encoder, Role

Vectors = NDArray[np.float32]


def encoder_figures(
    folder: Path,
    asked: Sequence[Probe],
    device: str = "cpu",
    styles: Sequence[Style] = tuple(Style),
) -> dict[str, Any]:
    """Accuracy by error, R@1 and R@20 among the probes' scenes, R@1 and R@10 of emoji by style."""
    encoder = Encoder.load(open_checkpoint(str(folder)), device=device, dtype="float32")
    images = encoder.encode([probe.image for probe in asked], Role.DOCUMENT)
    texts = _texts(encoder, [probe.right.text for probe in asked])
    above: dict[Error, list[bool]] = defaultdict(list)
    for image, text, probe in zip(images, texts, asked, strict=True):
        wrong = _texts(encoder, [caption.text for caption in probe.wrong.values()])
        for error, cosine in zip(probe.wrong, wrong @ image, strict=True):
            above[error].append(bool(text @ image > cosine))
    return {
        **summary(above),
        "text_to_image": recall(texts @ images.T, (1, 20)),
        "image_to_text": recall(images @ texts.T, (1, 20)),
        "emoji": _emoji(encoder, styles),
    }


def recall(cosines: Vectors, depths: Sequence[int]) -> dict[str, float]:
    """R@k of a square matrix whose row i is answered by column i; ties count against it."""
    own = np.diag(cosines)[:, None]
    better = (cosines >= own).sum(1) - 1
    return {f"r{depth}": round(float((better < depth).mean()), 4) for depth in depths}


def _emoji(encoder: Encoder, styles: Sequence[Style]) -> dict[str, Any]:
    """Names against all pictures of a style: seen and held-out concepts, held-out style."""
    catalogue = load_catalogue()
    figures: dict[str, Any] = {}
    for style in styles:
        drawn = [emoji for emoji in catalogue if style in emoji.styles]
        pictures = encoder.encode([_picture(emoji, style) for emoji in drawn], Role.DOCUMENT)
        cosines = _texts(encoder, [emoji.name for emoji in drawn]) @ pictures.T
        held_out = np.array([emoji.held_out for emoji in drawn])
        figures[style.value] = {
            "held_out_style": style == HELD_OUT_STYLE,
            "pictures": len(drawn),
            "seen": _rows(cosines, ~held_out),
            "held_out": _rows(cosines, held_out),
        }
    return figures


def _rows(cosines: Vectors, chosen: NDArray[np.bool_]) -> dict[str, float]:
    better = (cosines >= np.diag(cosines)[:, None]).sum(1) - 1
    return {f"r{depth}": round(float((better[chosen] < depth).mean()), 4) for depth in (1, 10)}


def _picture(emoji: Emoji, style: Style) -> LoadedContent:
    return LoadedContent(0, None, on_white(emoji.code, style, SIDE), b"-")


def _texts(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    contents = [LoadedContent(no, text) for no, text in enumerate(texts)]
    vectors: Vectors = encoder.encode(contents, Role.QUERY)
    return vectors
