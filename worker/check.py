"""What `repick doctor --models` asks of a model: `python -m worker.check encoder|scorer`.

Prints findings as JSON, one a line, as they come. It loads the model as a worker does, and writes
nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import psutil
import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from repick.doctor import Finding, Verdict
from repick.errors import RepickError, SelfTestFailed
from repick.settings import Settings, read_settings
from repick.specs import ImageLimits, Readout, ScorerSpec
from worker.checkpoints import Checkpoint, open_checkpoint
from worker.coarse import Encoder, Role
from worker.fine.placement import pick_device, pick_dtype
from worker.fine.scorer import FineModel
from worker.selftest import golden_pairs

SUMS = "sha256sums.txt"
HEADROOM = 1.25
"""Times the weights: activations and caches need their part as well."""


def encoder(settings: Settings) -> Iterator[Finding]:
    """Files, sums and memory, then whether texts find their pictures."""
    found = open_checkpoint(settings.encoder, settings.encoder_name)
    yield from _before_loading("encoder", found, settings)
    model = Encoder.load(found, device=settings.device, dtype=settings.dtype)
    yield Finding("encoder model", *_trained(found, f"{model.spec.dimension} dimensions"))
    pairs = golden_pairs()
    texts = model.encode([text for text, _ in pairs[::2]], Role.QUERY)
    pictures = model.encode([picture for _, picture in pairs[:2]], Role.DOCUMENT)
    own, other = (texts * pictures).sum(1), (texts * pictures[::-1]).sum(1)
    right = int((own > other).sum())
    verdict = Verdict.OK if right == len(own) or found.untrained else Verdict.WARN
    yield Finding("encoder self-test", verdict, f"{right} of {len(own)} texts find their picture")


def scorer(settings: Settings) -> Iterator[Finding]:
    """Files, sums, memory and label tokens, then the golden pairs by every specification."""
    found = open_checkpoint(settings.scorer, settings.scorer_name)
    yield from _before_loading("scorer", found, settings)
    readouts = [Readout(name) for name in settings.readouts.split(",")]
    model = FineModel.load(
        found,
        readouts=readouts,
        device=settings.device,
        dtype=settings.dtype,
        images=ImageLimits(settings.min_pixels, settings.max_pixels),
        enhancement=settings.enhancement,
    )
    yield Finding("scorer model", *_trained(found, f"of the family {model.family.name}"))
    detail = f"single tokens for {', '.join(readouts)}"
    yield Finding("scorer label tokens", Verdict.OK, detail)
    tested = [_self_test(model, spec) for spec in model.specs]
    yield from tested
    if all(finding.verdict is not Verdict.OK for finding in tested):
        yield Finding("scorer self-test", Verdict.FAIL, "a worker would refuse to serve this model")


def _self_test(model: FineModel, spec: ScorerSpec) -> Finding:
    try:
        mass = model.self_test(spec)
    except SelfTestFailed as exc:
        return Finding(spec.name, Verdict.WARN, f"would not be served: {exc.detail}")
    return Finding(spec.name, Verdict.OK, f"self-test passed, label mass {mass:.3g}")


def _before_loading(part: str, found: Checkpoint, settings: Settings) -> Iterator[Finding]:
    detail = f"{found.name}, weights {found.weights_sha256[:12]}"
    yield Finding(f"{part} files", Verdict.OK, detail)
    sums = next((at for at in (found.folder, found.folder.parent) if (at / SUMS).is_file()), None)
    if sums:
        yield check_sums(part, sums / SUMS, found.folder)
    device = pick_device(settings.device)
    yield check_memory(part, found.folder, device, pick_dtype(settings.dtype, device))


def check_sums(part: str, sums: Path, folder: Path) -> Finding:
    """The files of `folder` that the list names, against what it says of them."""
    lines = (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines())
    listed = {sums.parent / line[1].lstrip("*"): line[0] for line in lines if len(line) == 2}
    ours = {path: digest for path, digest in listed.items() if path.is_relative_to(folder)}
    for path, digest in ours.items():
        if not path.is_file():
            return Finding(f"{part} sums", Verdict.FAIL, f"{path} is missing; {SUMS} lists it")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return Finding(f"{part} sums", Verdict.FAIL, f"{path} differs from {SUMS}")
    return Finding(f"{part} sums", Verdict.OK, f"{len(ours)} files are as {SUMS} lists them")


def check_memory(part: str, folder: Path, device: torch.device, dtype: torch.dtype) -> Finding:
    """The weights in the dtype of the run against what the device has free."""
    needed, free = weight_bytes(folder, dtype), free_bytes(device)
    verdict = Verdict.OK if needed * HEADROOM <= free else Verdict.WARN
    if needed > free:
        verdict = Verdict.FAIL
    detail = (
        f"{needed / 1e9:.3g} GB of weights in {str(dtype).removeprefix('torch.')},"
        f" {free / 1e9:.1f} GB free on {device.type}"
    )
    return Finding(f"{part} memory", verdict, detail)


def weight_bytes(folder: Path, dtype: torch.dtype) -> int:
    """Bytes of all weights in that dtype, from the shapes in the headers alone."""
    numbers = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as opened:
            numbers += sum(math.prod(opened.get_slice(key).get_shape()) for key in opened.keys())  # noqa: SIM118
    return numbers * dtype.itemsize


def free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _trained(found: Checkpoint, detail: str) -> tuple[Verdict, str]:
    if found.untrained:
        return Verdict.WARN, f"{found.name} is untrained: its scores mean nothing"
    return Verdict.OK, f"{found.name}, {detail}"


PARTS: Mapping[str, Callable[[Settings], Iterator[Finding]]] = {
    "encoder": encoder,
    "scorer": scorer,
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in PARTS:
        print("usage: python -m worker.check encoder|scorer", file=sys.stderr)  # noqa: T201
        return 2
    [part] = arguments
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        for finding in PARTS[part](read_settings()):
            print(json.dumps(asdict(finding)), flush=True)  # noqa: T201
            if finding.verdict is Verdict.FAIL:
                return 1
    except (RepickError, SafetensorError, OSError) as exc:
        reason = exc.detail if isinstance(exc, RepickError) else str(exc)
        print(json.dumps(asdict(Finding(f"{part} model", Verdict.FAIL, reason))))  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
