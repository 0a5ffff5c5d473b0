"""The demo's judge on an accelerator against the same judge on the CPU: `pytest -m gpu`.

The kernels and fast paths of a GPU have their tests beside their CPU twins in tests/unit/fine.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from benchmarks.precision import content, kendall
from demo import drawn
from demo.models import JUDGE, MODELS, SIDE
from repick.specs import ImageLimits, Readout
from worker.checkpoints import open_checkpoint
from worker.fine.limits import MemoryLimits
from worker.fine.scorer import FineModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

LIMITS = MemoryLimits(4096, 8 * 1024 * 1024, 0, 8 * 1024 * 1024)


def judge(device: str, dtype: str) -> FineModel:
    return FineModel.load(
        open_checkpoint(str(MODELS / JUDGE)),
        readouts=[Readout.CHOICE_BALANCED],
        device=device,
        dtype=dtype,
        images=ImageLimits(SIDE * SIDE, SIDE * SIDE),
        limits=LIMITS,
    )


def margins(model: FineModel) -> list[float]:
    """One query in words and one picture against pictures and captions."""
    families = drawn.make_families(12, seed=5)
    items = [content(one) for one in (*drawn.pictures_of(families), *drawn.captions_of(families))]
    spec, found = model.specs[0], []
    for query in (items[-1], items[0]):
        found += model.score([model.prepare(query, document, spec) for document in items])
    return [score.margin for score in found if score.margin is not None]


@pytest.fixture(scope="module")
def exact() -> Sequence[float]:
    return margins(judge("cpu", "float32"))


def test_float32_margins_are_those_of_the_cpu(exact: Sequence[float]) -> None:
    found = margins(judge("cuda", "float32"))
    assert found == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_ranks_as_float32_does(exact: Sequence[float], dtype: str) -> None:
    assert kendall(exact, margins(judge("cuda", dtype))) >= 0.98


def test_what_is_kept_stays_within_its_limits_and_is_told() -> None:
    model = judge("cuda", "bfloat16")
    margins(model)
    memory = model.memory()
    assert 0 < memory["vision"] <= LIMITS.vision_bytes
    assert memory["prefixes"] <= LIMITS.prefix_bytes
    assert memory["allocated"] <= memory["allocated_peak"]
