"""The demo's own trained models: where they are, that they are those meant, how they are served.

    python -m demo.models FOLDER   the service's settings for them, as JSON
    python -m demo.models --seal   write SUMS over the files that are there now

Without trained models the settings are those of the untrained stand-ins, written below FOLDER.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from demo.stand_ins import CLIP, QWEN, make_stand_ins
from repick.errors import ModelError

MODELS = Path(__file__).parent / "assets" / "models"
SUMS = "sha256sums.txt"
"""Beside the folders, as `sha256sum --check` reads it: of every file but the model cards."""

ENCODER, JUDGE = "encoder", "judge"
ENCODER_NAME, JUDGE_NAME = "demo-encoder", "demo-judge"
SIDE = 96
"""The judge was trained on pictures of so many pixels a side, and sees every picture so."""
READOUT = "choice_balanced:plain"
"""How the demo asks the judge; enhancement is for full-size checkpoints until it is measured."""
JUDGE_KNOWS_EMOJI = False
JUDGE_KNOWS_EDITS = False
"""What the judge was trained on beside scenes; where it was not, the coarse order stands.

Of composed queries it has seen too few: it puts the right picture behind others.
"""

STAND_IN_PIXELS = {"min_pixels": 4 * 28 * 28, "max_pixels": 64 * 28 * 28}

Values = Mapping[str, str | int]


def shipped(models: Path = MODELS) -> bool:
    """Whether there is any trained model; `check` tells whether they are whole."""
    return (models / ENCODER).is_dir() or (models / JUDGE).is_dir()


def check(models: Path = MODELS) -> None:
    """Compare every file of both models with its sum.

    Raises ModelError that names the file which is missing, unknown or differs.
    """
    listed, found = _listed(models / SUMS), _sums(models)
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            raise ModelError(f"{models / name} is missing; {SUMS} lists it")
        if name not in listed:
            raise ModelError(f"{models / name} is not in {SUMS} (python -m demo.models --seal)")
        if listed[name] != found[name]:
            raise ModelError(
                f"{models / name} is not the file that was sealed: its SHA-256 is {found[name]},"
                f" {SUMS} says {listed[name]}"
            )


def seal(models: Path = MODELS) -> Path:
    """Write the sums of what is there; returns their file. Raises ModelError for an empty model."""
    found = _sums(models)
    for part in (ENCODER, JUDGE):
        if f"{part}/config.json" not in found:
            raise ModelError(f"{models / part} holds no model")
    lines = (f"{digest}  {name}\n" for name, digest in found.items())
    (models / SUMS).write_text("".join(lines), encoding="utf-8")
    return models / SUMS


def settings(folder: Path, models: Path = MODELS) -> Values:
    """Settings by their names: the shipped models', checked, or those of stand-ins in `folder`."""
    if not shipped(models):
        make_stand_ins(folder)
        return {"encoder": str(folder / CLIP), "scorer": str(folder / QWEN)} | STAND_IN_PIXELS
    check(models)
    return {
        "encoder": str(models / ENCODER),
        "encoder_name": ENCODER_NAME,
        "scorer": str(models / JUDGE),
        "scorer_name": JUDGE_NAME,
        "min_pixels": SIDE * SIDE,
        "max_pixels": SIDE * SIDE,
    }


def _sums(models: Path) -> dict[str, str]:
    """SHA-256 by path relative to `models`, in the order of the paths."""
    files = (file for part in (ENCODER, JUDGE) for file in (models / part).rglob("*"))
    kept = sorted(file for file in files if file.is_file() and file.suffix != ".md")
    return {file.relative_to(models).as_posix(): _sha256(file) for file in kept}


def _listed(sums: Path) -> dict[str, str]:
    try:
        lines = sums.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise ModelError(f"{sums} cannot be read (python -m demo.models --seal)") from exc
    parts = (line.partition("  ") for line in lines)
    return {name: digest for digest, _, name in parts}


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if arguments[0] == "--seal":
            print(seal())
        else:
            print(json.dumps(settings(Path(arguments[0]))))
    except ModelError as exc:
        print(exc.detail, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
