"""Which pairs are computed together, and what happens where memory is short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repick.content import LoadedContent
from repick.specs import ImageLimits, Readout, ScorerSpec
from tests.unit.fine.reference import Pair
from worker.fine.engine import Engine
from worker.fine.limits import MemoryLimits
from worker.fine.lru import ByteLRU
from worker.fine.plan import halving, own_length, plan
from worker.fine.prompts import ImageSegment, Prompt, TextSegment
from worker.fine.scorer import FineModel
from worker.fine.tree import root_of

HEAD = TextSegment((1, 2, 3))
QUESTION = TextSegment((7, 8))


def prompt(front: int, image_tokens: int, own: int) -> Prompt:
    """A prompt whose first content is image number `front`, and whose own part has `own` tokens."""
    image = ImageSegment(bytes([front]), (1, 2, 2 * image_tokens), image_tokens)
    return Prompt((HEAD, TextSegment((4,)), image), (TextSegment((5,) * own),), (QUESTION,))


def test_pairs_that_share_a_front_come_together_and_shorter_ones_first() -> None:
    pairs = [[prompt(front, 10, own)] for front, own in ((1, 9), (2, 1), (1, 2), (2, 5), (3, 1))]
    (batch,) = plan(pairs, 1000, lambda key: False)
    assert batch.pairs == (2, 0, 1, 3, 4)
    assert batch.shared == {pairs[0][0].first, pairs[1][0].first}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), max_size=20), st.integers(1, 200))
def test_every_pair_is_planned_once_and_only_a_single_pair_exceeds_the_budget(
    made: list[tuple[int, int]], budget: int
) -> None:
    pairs = [[prompt(front, 8, own)] for front, own in made]
    batches = plan(pairs, budget, lambda key: False)
    assert sorted(no for batch in batches for no in batch.pairs) == list(range(len(pairs)))
    for batch in batches:
        own = sum(own_length(pairs[no]) for no in batch.pairs)
        assert len(batch.pairs) == 1 or own <= budget


def test_what_is_at_hand_takes_no_room() -> None:
    pairs = [[prompt(front, 50, 3)] for front in range(4)]
    assert len(plan(pairs, 60, lambda key: False)) == 4
    assert len(plan(pairs, 60, lambda key: True)) == 1


def test_a_prompt_has_its_frame_and_the_words_before_an_image_in_common_with_others() -> None:
    assert root_of(prompt(1, 4, 2)) == (HEAD, TextSegment((4,)))
    words = Prompt((HEAD, TextSegment((4,))), (TextSegment((5,)),), (QUESTION,))
    assert root_of(words) == (HEAD,)


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_keeps_its_order() -> None:
    tried: list[int] = []
    relieved: list[None] = []

    def run(batch: Sequence[int]) -> list[int]:
        tried.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        return [10 * one for one in batch]

    found = halving(run, range(7), lambda: relieved.append(None))
    assert found == [10 * one for one in range(7)]
    assert tried == [7, 3, 1, 2, 4, 2, 2]
    assert len(relieved) == 3


def test_a_pair_that_does_not_fit_by_itself_is_tried_once_more_and_then_an_error() -> None:
    tried: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        tried.append(len(batch))
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        halving(run, [1], lambda: None)
    assert tried == [1, 1]


@pytest.mark.parametrize(
    "words",
    [
        "MPS backend out of memory (MPS allocated: 9.00 GiB, max allowed: 9.07 GiB).",
        "CUDA error: out of memory",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_devices_that_say_in_words_that_memory_is_out_are_understood(words: str) -> None:
    def run(batch: Sequence[int]) -> list[int]:
        if len(batch) > 1:
            raise RuntimeError(words)
        return list(batch)

    assert halving(run, [1, 2, 3], lambda: None) == [1, 2, 3]


def test_another_error_is_no_reason_for_halves() -> None:
    tried: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        tried.append(len(batch))
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        halving(run, [1, 2, 3], lambda: None)
    assert tried == [3]


class SmallDevice:
    """A family on a device whose memory ends at so many tokens of a batch."""

    def __init__(self, family: Any, tokens: int) -> None:
        self._family, self._tokens = family, tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        if ids.numel() > self._tokens:
            raise torch.OutOfMemoryError
        hidden: torch.Tensor = self._family.embed(ids)
        return hidden


@pytest.fixture
def own_engine(fine_model: FineModel) -> Iterator[FineModel]:
    """The model, whose engine a test may replace."""
    usual = fine_model.engine
    yield fine_model
    fine_model.engine = usual


def plain_spec(model: FineModel) -> ScorerSpec:
    specs = (spec for spec in model.specs if spec.enhancement is None)
    return next(spec for spec in specs if spec.readout is Readout.CHOICE)


def test_scores_are_the_same_on_a_device_that_runs_out_of_memory(
    own_engine: FineModel, pairs: list[Pair]
) -> None:
    model = own_engine
    prepared = [model.prepare(*pair, plain_spec(model)) for pair in pairs]
    expected = [score.margin for score in model.score(prepared)]
    family: Any = SmallDevice(model.family, 300)
    model.engine = Engine(family, "0" * 64, MemoryLimits(4096, 1 << 28, 0, 1 << 28))
    found = [score.margin for score in model.score(prepared)]
    assert found == pytest.approx(expected, abs=1e-5)
    assert model.engine.batch_tokens < 4096


def test_a_pair_that_fits_no_device_leaves_the_batches_of_others_as_large_as_they_were(
    own_engine: FineModel, pairs: list[Pair]
) -> None:
    model = own_engine
    large = LoadedContent(98, "a query"), LoadedContent(99, "word " * 400)
    prepared = [model.prepare(*pair, plain_spec(model)) for pair in [pairs[0], large]]
    family: Any = SmallDevice(model.family, 300)
    model.engine = Engine(family, "0" * 64, MemoryLimits(4096, 1 << 28, 0, 1 << 28))
    for _ in range(3):
        with pytest.raises(torch.OutOfMemoryError):
            model.score(prepared)
    assert model.engine.batch_tokens == 4096


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12)), max_size=40))
def test_a_cache_never_exceeds_its_budget_and_forgets_the_least_recently_used(
    puts: list[tuple[int, int]],
) -> None:
    fallen: list[tuple[int, str]] = []
    cache: ByteLRU[int, str] = ByteLRU(20, len, lambda key, value: fallen.append((key, value)))
    kept: dict[int, str] = {}
    for key, size in puts:
        kept.pop(key, None)
        kept[key] = "x" * size
        cache.put(key, kept[key])
        while sum(map(len, kept.values())) > 20:
            kept.pop(next(iter(kept)))
        assert cache.used == sum(map(len, kept.values())) <= 20
        assert all(cache.get(one) == value for one, value in kept.items())
    assert len(cache) == len(kept)


def test_asking_for_a_value_keeps_it() -> None:
    cache: ByteLRU[str, str] = ByteLRU(2, len)
    for key in "ab":
        cache.put(key, "x")
    cache.get("a")
    cache.put("c", "x")
    assert ("a" in cache, "b" in cache, "c" in cache) == (True, False, True)


def test_a_value_larger_than_the_budget_is_not_kept_and_drops_nothing() -> None:
    cache: ByteLRU[str, str] = ByteLRU(2, len)
    cache.put("a", "x")
    cache.put("b", "xxx")
    assert ("a" in cache, "b" in cache, cache.used) == (True, False, 1)


def test_memory_stays_within_its_limits_over_many_new_pairs(
    own_engine: FineModel, content: Any
) -> None:
    model, limits = own_engine, MemoryLimits(500, 30_000, 20_000, 60_000)
    model.engine = Engine(model.family, "0" * 64, limits)
    spec = plain_spec(model)
    queries = [content("a circle"), content("a square")]
    for seed in range(100, 130):
        document = content(picture=seed)
        model.score([model.prepare(query, document, spec) for query in queries])
        memory = model.memory()
        assert memory["vision"] <= limits.vision_bytes
        assert memory["vision_host"] <= limits.host_bytes
        assert memory["prefixes"] <= limits.prefix_bytes
    assert model.engine.vision.encoded == 30


def test_an_image_is_resized_once_and_not_at_all_where_its_tokens_are_at_hand(
    own_engine: FineModel, content: Any
) -> None:
    model, spec = own_engine, plain_spec(own_engine)
    model.engine = Engine(model.family, "0" * 64, MemoryLimits(500, 1 << 24, 0, 1 << 24))
    query, document = content(picture=41), content("words")
    pairs = [model.prepare(query, document, spec) for _ in range(3)]
    (image,) = pairs[0].images
    assert all(pair.images[0] is image for pair in pairs)
    assert image.made
    model.score(pairs)
    del pairs, image
    (known,) = model.prepare(query, document, spec).images
    assert not known.made
    assert len(known.pixels) == 4 * known.segment.length


def test_visual_tokens_are_kept_apart_by_pixel_limits(own_engine: FineModel, content: Any) -> None:
    vision, limits = own_engine.engine.vision, own_engine.specs[0].images
    (image,) = own_engine.prepare(content("a"), content(picture=51), plain_spec(own_engine)).images
    own_engine.score(
        [own_engine.prepare(content("a"), content(picture=51), plain_spec(own_engine))]
    )
    assert vision.has(image.segment, limits)
    assert not vision.has(image.segment, ImageLimits(1, 2))
