"""Qwen2-VL, any size."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2VLForConditionalGeneration

from worker.fine.families.qwen import QwenVL


class Qwen2VL(QwenVL):
    name = "qwen2_vl"
    architecture: Any = Qwen2VLForConditionalGeneration
