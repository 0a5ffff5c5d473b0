"""Qwen3-VL, dense, any size: visual features also enter after its first layers (deepstack)."""

from __future__ import annotations

from typing import Any

from transformers import Qwen3VLForConditionalGeneration

from worker.fine.families.qwen import QwenVL


class Qwen3VL(QwenVL):
    name = "qwen3_vl"
    architecture: Any = Qwen3VLForConditionalGeneration
