"""Where a model runs and in which dtype."""

from __future__ import annotations

import platform

import torch

from repick.errors import ModelError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The named device; for "auto" CUDA, Apple's MPS or the CPU, whichever comes first.

    Raises ModelError for a name that is no device, or of a GPU that is not here.
    """
    if name == "auto":
        return torch.device(_at_hand())
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise ModelError(f"{name!r} is no device") from exc
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise ModelError(f"no device {name!r}: torch {torch.__version__} sees {seen} CUDA GPUs")
    return device


def _at_hand() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The named dtype; for "auto" bfloat16 on CUDA and float32 elsewhere."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ModelError(f"dtype {name!r} is none of {', '.join(DTYPES)}")
    return DTYPES[name]


def device_name(device: torch.device) -> str:
    """A name for provenance: the accelerator's own, or the kind and the machine's architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"
