"""Figures that were published for the method and its rivals (RetLLM; METHOD §4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_METHODS = ("CLIP-L", "E5-V", "UniME", "RetLLM")
_RETRIEVAL: Mapping[str, tuple[tuple[float, float], ...]] = {
    "flickr30k": ((87.2, 67.3), (88.7, 79.5), (93.4, 81.9), (94.5, 82.0)),
    "coco": ((58.1, 37.0), (62.0, 52.0), (70.1, 53.7), (70.4, 54.1)),
    "sharegpt4v": ((81.8, 84.0), (85.1, 82.1), (97.2, 93.9), (97.6, 94.2)),
    "urban1k": ((47.0, 47.0), (88.9, 83.2), (95.9, 95.2), (88.9, 78.6)),
}
_SUGARCREPE = ((79.5, 62.7, 74.9), (86.3, 67.6, None), (89.0, None, 94.4), (94.8, 92.7, 96.2))


def published(dataset: str) -> list[dict[str, Any]]:
    """Of the data set whose name contains one of the paper's: a row a method; [] for others.

    R@1 in percent as `image_to_text` and `text_to_image`; SugarCrepe's accuracies as `replace`,
    `swap` and `add`, None where none was published. They were made with other candidates and other
    models: they are for comparison, not the same measurement.
    """
    name = dataset.lower().replace("-", "").replace("_", "")
    if "sugarcrepe" in name:
        return [
            {"method": method, **dict(zip(("replace", "swap", "add"), row, strict=True))}
            for method, row in zip(_METHODS, _SUGARCREPE, strict=True)
        ]
    for known, rows in _RETRIEVAL.items():
        if known in name:
            return [
                {"method": method, "image_to_text": i2t, "text_to_image": t2i}
                for method, (i2t, t2i) in zip(_METHODS, rows, strict=True)
            ]
    return []
