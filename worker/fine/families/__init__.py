"""The model families that can be served, by the `model_type` of a checkpoint's config.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from repick.errors import ModelError, UnsupportedFamily
from worker.fine.families.base import Family
from worker.fine.families.qwen2_5_vl import Qwen25VL
from worker.fine.families.qwen2_vl import Qwen2VL
from worker.fine.families.qwen3_vl import Qwen3VL

FAMILIES: Mapping[str, Callable[[Path, torch.device, torch.dtype], Family]] = {
    family.name: family.load for family in (Qwen2VL, Qwen25VL, Qwen3VL)
}


def open_family(folder: Path, device: torch.device, dtype: torch.dtype) -> Family:
    """Load the checkpoint in `folder` by the adapter of its family.

    Raises UnsupportedFamily for a `model_type` that no adapter knows, ModelError for files that
    do not make a whole model.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ModelError(f"cannot read config.json of {folder.name}: {exc}") from exc
    family = str(config.get("model_type")) if isinstance(config, dict) else ""
    if family not in FAMILIES:
        supported = ", ".join(sorted(FAMILIES))
        raise UnsupportedFamily(
            f"{folder.name} is of family {family!r}; supported: {supported}", family=family
        )
    try:
        return FAMILIES[family](folder, device, dtype)
    except ModelError:
        raise
    except Exception as exc:  # tokenizers raises no less, transformers nearly everything
        raise ModelError(f"cannot load {folder.name}: {exc}") from exc
