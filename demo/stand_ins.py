"""Tiny stand-ins for the real models, of the real classes, with random weights.

They make the whole path run anywhere in seconds; what they score means nothing, and each folder
says so in repick.json. For tests and benchmarks, and the demo where no trained model is there.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

CLIP = "clip-tiny-untrained"
QWEN = "qwen2.5-vl-tiny-untrained"
RECIPE = 1
"""Raised by hand whenever what is written changes, so that older folders are made anew."""


def make_stand_ins(folder: Path) -> None:
    """Write both models below `folder`; returns at once where complete ones are there."""
    for name in (CLIP, QWEN):
        if not _complete(folder / name):
            _make(folder / name)


def _make(target: Path) -> None:
    """Write into a folder aside and rename it, so that nobody ever sees half a model."""
    from demo.untrained import WRITERS  # torch takes seconds, and most runs find models made

    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        WRITERS[target.name](aside)
        (aside / "repick.json").write_text(json.dumps({"untrained": True, "recipe": RECIPE}))
        aside.chmod(0o755)
        _replace(target, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _replace(target: Path, aside: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    try:
        os.rename(aside, target)
    except OSError:
        # Another process may have been quicker; its models are the same.
        if not _complete(target):
            raise


def _complete(target: Path) -> bool:
    try:
        marker = json.loads((target / "repick.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(marker == {"untrained": True, "recipe": RECIPE})
