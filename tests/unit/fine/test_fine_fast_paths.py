"""Every fast path of every family equals the library's plain forward pass of a single pair."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Tokenizer

from repick.content import LoadedContent
from repick.jobs import PairScore
from repick.specs import Enhancement, ImageLimits, Readout, ScorerSpec
from tests.unit.fine import tiny_families
from tests.unit.fine.reference import Pair, library_inputs, library_margin
from worker.checkpoints import Checkpoint
from worker.fine.limits import MemoryLimits
from worker.fine.scorer import FineModel, PreparedPair

ROOMY = MemoryLimits(2048, 1 << 28, 0, 1 << 28)


@dataclass(frozen=True)
class Case:
    """A family's model, and what the library's own says of the same pairs, each by itself."""

    model: FineModel
    library: Any
    tokenizer: Any
    spec: ScorerSpec
    pairs: list[Pair]
    expected: list[float]

    @property
    def tolerance(self) -> float:
        return 1e-4 * statistics.pstdev(self.expected) + 1e-6

    def prepared(self) -> list[PreparedPair]:
        return [self.model.prepare(*pair, self.spec) for pair in self.pairs]

    def difference(self, scores: Sequence[PairScore]) -> float:
        margins = [score.margin for score in scores if score.margin is not None]
        return max(abs(a - b) for a, b in zip(margins, self.expected, strict=True))


def load(folder: Path, device: str = "cpu", dtype: str = "float32") -> FineModel:
    images = ImageLimits(min_pixels=6 * 32 * 32, max_pixels=16 * 32 * 32)
    return FineModel.load(
        Checkpoint(folder, "tiny", "0" * 64, "1" * 64, untrained=True),
        readouts=[Readout.CHOICE, Readout.CHOICE_BALANCED],
        device=device,
        dtype=dtype,
        images=images,
        limits=ROOMY,
    )


@pytest.fixture(scope="module", params=list(tiny_families.FAMILIES))
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]
) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    tiny_families.save(request.param, folder)
    model = load(folder)
    architecture = tiny_families.FAMILIES[request.param][1]
    library = architecture.from_pretrained(folder).eval()
    tokenizer = Qwen2Tokenizer.from_pretrained(folder)
    spec = spec_of(model, Readout.CHOICE)
    expected = [library_margin(library, tokenizer, spec, pair) for pair in pairs]
    return Case(model, library, tokenizer, spec, pairs, expected)


def spec_of(model: FineModel, readout: Readout) -> ScorerSpec:
    specs = (spec for spec in model.specs if spec.enhancement is None)
    return next(spec for spec in specs if spec.readout is readout)


@contextmanager
def limited(model: FineModel, limits: MemoryLimits) -> Iterator[None]:
    """The same weights with other budgets."""
    usual = model.engine
    model.engine = type(usual)(model.family, "0" * 64, limits)
    try:
        yield
    finally:
        model.engine = usual


def test_the_references_margins_spread(case: Case) -> None:
    assert statistics.pstdev(case.expected) >= 0.1


def test_swapped_images_and_wrong_positions_break_the_equality(
    case: Case, content: Callable[..., LoadedContent]
) -> None:
    one, other = content(picture=1, size=(200, 80)), content("words", picture=3, size=(60, 140))
    margins = [
        library_margin(case.library, case.tokenizer, case.spec, pair)
        for pair in ((one, other), (replace(one, image=other.image), other), (other, one))
    ]
    size = case.library.config.vision_config.patch_size
    ids = library_inputs(case.tokenizer, case.spec, (one, other), size)["input_ids"]
    flat = torch.arange(ids.shape[1]).expand(3, 1, -1)
    margins.append(
        library_margin(case.library, case.tokenizer, case.spec, (one, other), position_ids=flat)
    )
    assert min(abs(margins[0] - wrong) for wrong in margins[1:]) > 100 * case.tolerance


def test_the_padded_path_equals_it(case: Case) -> None:
    assert case.difference(case.model.score_plain(case.prepared())) <= case.tolerance


def test_packed_and_shared_equals_it_cold_and_warm(case: Case) -> None:
    prepared = case.prepared()
    case.model.engine.forget()
    cold = case.model.score(prepared)
    assert case.model.memory()["prefixes"] > 0
    assert case.model.memory()["vision"] > 0
    encoded = case.model.engine.vision.encoded
    warm = case.model.score(prepared)
    assert case.model.engine.vision.encoded == encoded
    assert max(case.difference(cold), case.difference(warm)) <= case.tolerance


def test_a_warm_store_of_images_with_cold_prefixes_equals_it(case: Case) -> None:
    prepared = case.prepared()
    case.model.score(prepared)
    case.model.engine.prefixes.clear()
    assert case.difference(case.model.score(prepared)) <= case.tolerance


def test_single_pairs_equal_it_with_nothing_and_with_everything_at_hand(case: Case) -> None:
    case.model.engine.forget()
    for _ in range(2):
        single = [case.model.score([one])[0] for one in case.prepared()]
        assert case.difference(single) <= case.tolerance
        case.model.score(case.prepared())


@pytest.mark.parametrize("budget", [1, 150, 400])
def test_batches_cut_by_their_budget_equal_it(case: Case, budget: int) -> None:
    with limited(case.model, replace(ROOMY, batch_tokens=budget)):
        prepared = case.prepared()
        assert len(case.model.plan(prepared)) > 1
        assert case.difference(case.model.score(prepared)) <= case.tolerance


@pytest.mark.parametrize("room", [0, 40_000])
def test_stores_without_room_equal_it(case: Case, room: int) -> None:
    with limited(case.model, MemoryLimits(300, room, room, room)):
        prepared = case.prepared()
        for _ in range(2):
            assert case.difference(case.model.score(prepared)) <= case.tolerance
            assert max(case.model.memory().values()) <= room


def test_images_that_come_back_from_the_host_equal_it(case: Case) -> None:
    with limited(case.model, MemoryLimits(2048, 5_000, 1 << 24, 0)):
        prepared = case.prepared()
        case.model.score(prepared)
        encoded = case.model.engine.vision.encoded
        assert case.difference(case.model.score(prepared)) <= case.tolerance
        assert case.model.engine.vision.encoded == encoded
        assert case.model.memory()["vision_host"] > 0


def test_two_questions_share_all_before_them(case: Case) -> None:
    """Both orders of a balanced choice, packed, against each by itself in the plain path."""
    spec = spec_of(case.model, Readout.CHOICE_BALANCED)
    prepared = [case.model.prepare(*pair, spec) for pair in case.pairs]
    packed = case.model.score(prepared)
    plain = [case.model.score_plain([one])[0] for one in prepared]
    for one, other in zip(packed, plain, strict=True):
        for logits, same in zip(one.label_logits, other.label_logits, strict=True):
            assert logits == pytest.approx(same, abs=case.tolerance)


def test_neighbours_and_order_change_no_margin(case: Case) -> None:
    prepared = case.prepared()
    order = [(7 * no) % len(prepared) for no in range(len(prepared))]
    case.model.engine.forget()
    for start in range(0, len(order), 3):
        batch = order[start : start + 3]
        scores = case.model.score([prepared[no] for no in batch])
        for no, score in zip(batch, scores, strict=True):
            assert score.margin == pytest.approx(case.expected[no], abs=case.tolerance)


@pytest.mark.parametrize("readout", [Readout.CHOICE, Readout.CHOICE_BALANCED])
@pytest.mark.parametrize("gamma", [-1.0, 0.95])
def test_enhancement_fires_the_same_layers_and_gives_the_same_margins_packed_and_padded(
    case: Case, readout: Readout, gamma: float
) -> None:
    spec = replace(spec_of(case.model, readout), enhancement=Enhancement(0.3, gamma))
    prepared = [case.model.prepare(*pair, spec) for pair in case.pairs]
    plain = case.model.score_plain(prepared)
    assert any(one.enhanced_at[0] is not None for one in plain)
    case.model.engine.forget()
    for _ in range(2):
        packed = case.model.score(prepared)
        assert [one.enhanced_at for one in packed] == [one.enhanced_at for one in plain]
        margins = [[one.margin for one in scores] for scores in (packed, plain)]
        assert margins[0] == pytest.approx(margins[1], abs=case.tolerance)


def test_enhancement_in_the_last_layer_which_computes_answers_only(
    tmp_path: Path, pairs: list[Pair]
) -> None:
    """Of four layers the second and third may fire, and the fourth is injected."""
    tiny_families.save("qwen2_5_vl", tmp_path, layers=4)
    model = load(tmp_path)
    spec = spec_of(model, Readout.CHOICE)
    fired = set()
    for gamma in (-1.0, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99):
        on = replace(spec, enhancement=Enhancement(0.3, gamma))
        prepared = [model.prepare(*pair, on) for pair in pairs]
        packed, padded = model.score(prepared), model.score_plain(prepared)
        fired |= {score.enhanced_at[0] for score in padded}
        for one, other in zip(packed, padded, strict=True):
            assert one.enhanced_at == other.enhanced_at
            assert one.margin == pytest.approx(other.margin, abs=1e-5)
    assert {1, 2} <= fired


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_scores_on_an_accelerator_equal_those_of_the_processor(
    tmp_path: Path, pairs: list[Pair]
) -> None:
    """In float32 by blocks; in bfloat16 by the variable-length kernel, as near as its rounding."""
    tiny_families.save("qwen3_vl", tmp_path)
    margins = {}
    for device, dtype in (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16")):
        model = load(tmp_path, device, dtype)
        spec = replace(spec_of(model, Readout.CHOICE), enhancement=None)
        scores = model.score([model.prepare(*pair, spec) for pair in pairs])
        margins[device, dtype] = [score.margin for score in scores]
    expected = margins["cpu", "float32"]
    spread = statistics.pstdev(expected)
    assert margins["cuda", "float32"] == pytest.approx(expected, abs=1e-3 * spread)
    assert margins["cuda", "bfloat16"] == pytest.approx(expected, abs=0.5 * spread)
