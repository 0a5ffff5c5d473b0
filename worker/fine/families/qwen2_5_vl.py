"""Qwen2.5-VL, any size."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2_5_VLForConditionalGeneration

from worker.fine.families.qwen import QwenVL


class Qwen25VL(QwenVL):
    name = "qwen2_5_vl"
    architecture: Any = Qwen2_5_VLForConditionalGeneration
