"""Enhancement equals METHOD §3 written out for one pair at a time, layer by layer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repick.content import LoadedContent
from repick.errors import ModelError
from repick.jobs import PairScore
from repick.specs import Enhancement, Positions, Readout, ScorerSpec
from worker.fine.enhancement import Enhancer, top_entropy, window
from worker.fine.families.base import Decoder
from worker.fine.scorer import FineModel, PreparedPair

WINDOW = (2, 3, 4)
"""Of eight layers: 5/28 < ℓ/8 < 16/28."""


@dataclass(frozen=True)
class Expected:
    margin: float
    fired: int | None
    entropies: tuple[float, ...]


def mean_size(values: Tensor) -> float:
    return float(values.abs().mean())


def written_out_ffn(mlp: Any, x: Tensor, visual: Tensor, alpha: float) -> Any:
    """(1−α)·FFN(x) + α·A·|FFN(x)|/|A| at one position; x (D,), visual tokens (N, D)."""
    plain = mlp.down_proj(F.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
    keys = visual * mean_size(mlp.gate_proj.weight) / mean_size(visual)
    found = torch.zeros_like(x)
    for key, value in zip(keys, visual, strict=True):
        found = found + F.silu(torch.dot(x, key)) * value
    return (1 - alpha) * plain + alpha * found * mean_size(plain) / mean_size(found)


def written_out_entropy(model: Any, hidden: Tensor, final_norm: bool) -> float:
    text = model.model.language_model
    logits = model.lm_head(text.norm(hidden) if final_norm else hidden)
    top = sorted(logits.double().tolist(), reverse=True)[:10]
    weights = [math.exp(value - top[0]) for value in top]
    shares = [weight / sum(weights) for weight in weights]
    return -sum(share * math.log(share) for share in shares if share > 0) / math.log(10)


def embed(model: Any, prepared: PreparedPair) -> tuple[Tensor, Tensor, Tensor]:
    """Input embeddings (T, D), positions (3, 1, T) and visual tokens (N, D) of a pair."""
    image_token = model.config.image_token_id
    ids: list[int] = []
    for part in prepared.prompts[0].segments:
        ids += getattr(part, "ids", None) or [image_token] * part.length
    row = torch.tensor([ids])
    embeds = model.get_input_embeddings()(row)[0].clone()
    kinds = (row == image_token).int()
    grids, visual = None, embeds.new_zeros(0, embeds.shape[-1])
    if prepared.images:
        grids = torch.tensor([image.segment.grid for image in prepared.images])
        pixels = torch.cat([image.pixels for image in prepared.images])
        visual = torch.cat(model.get_image_features(pixels, grids).pooler_output)
        embeds[kinds[0].bool()] = visual
    return embeds, model.model.get_rope_index(row, kinds, grids)[0], visual


@torch.no_grad()
def written_out(model: Any, prepared: PreparedPair, setting: Enhancement) -> Expected:
    """METHOD §3 for one pair: the decoder's layers one after another, no hook."""
    text = model.model.language_model
    hidden, positions, visual = embed(model, prepared)
    rotary = text.rotary_emb(hidden[None], positions)
    fired, entropies = None, []
    for no, layer in enumerate(text.layers):
        normed = layer.input_layernorm(hidden[None])
        hidden = hidden + layer.self_attn(normed, position_embeddings=rotary)[0][0]
        x = layer.post_attention_layernorm(hidden)
        out = layer.mlp(x)
        if fired == no - 1:
            everywhere = setting.positions is Positions.ALL
            for at in range(len(x)) if everywhere else [len(x) - 1]:
                out[at] = written_out_ffn(layer.mlp, x[at], visual, setting.alpha)
        hidden = hidden + out
        if no in WINDOW and fired is None and len(visual):
            entropies.append(written_out_entropy(model, hidden[-1], setting.final_norm))
            fired = no if entropies[-1] > setting.gamma else None
    logits = model.lm_head(text.norm(hidden[-1])).double()
    label_a, label_b = (logits[ids].logsumexp(0) for ids in model.test_label_ids)
    return Expected(float(label_a - label_b), fired, tuple(entropies))


@pytest.fixture(scope="module")
def reference(plain_model: Any, tokenizer: Any) -> Any:
    ids = tokenizer.get_vocab()
    plain_model.test_label_ids = [[ids[word], ids[f"Ġ{word}"]] for word in "AB"]
    return plain_model


@pytest.fixture(scope="module")
def pairs(
    content: Callable[..., LoadedContent],
) -> list[tuple[LoadedContent, LoadedContent]]:
    queries = [content("a circle"), content(picture=9), content("bluer", picture=8)]
    documents = [
        content("a red circle"),
        content(picture=1, size=(200, 80)),
        content("the square", picture=2),
        content(picture=3, size=(60, 140)),
    ]
    return [(query, document) for query in queries for document in documents]


def enhanced_spec(model: FineModel, setting: Enhancement | None) -> ScorerSpec:
    spec = next(spec for spec in model.specs if spec.readout is Readout.CHOICE)
    return replace(spec, enhancement=setting)


def prepare(model: FineModel, pairs: Any, setting: Enhancement | None) -> list[PreparedPair]:
    spec = enhanced_spec(model, setting)
    return [model.prepare(query, document, spec) for query, document in pairs]


@pytest.fixture(scope="module")
def gamma(fine_model: FineModel, reference: Any, pairs: Any) -> float:
    return middle_entropy(fine_model, reference, pairs, final_norm=True)


def middle_entropy(fine_model: FineModel, reference: Any, pairs: Any, *, final_norm: bool) -> float:
    """Between the highest entropies of two pairs, so that some pairs fire and some do not."""
    never = Enhancement(gamma=2.0, final_norm=final_norm)
    seen = [
        max(written_out(reference, one, never).entropies)
        for one in prepare(fine_model, pairs, never)
        if one.images
    ]
    middle = sorted(seen)[len(seen) // 2 - 1 : len(seen) // 2 + 1]
    return statistics.fmean(middle)


@pytest.mark.parametrize("positions", list(Positions))
@pytest.mark.parametrize("final_norm", [True, False])
def test_a_batch_equals_the_written_out_method(
    fine_model: FineModel,
    reference: Any,
    pairs: Any,
    positions: Positions,
    final_norm: bool,
) -> None:
    gamma = middle_entropy(fine_model, reference, pairs, final_norm=final_norm)
    setting = Enhancement(0.3, gamma, positions, final_norm)
    prepared = prepare(fine_model, pairs, setting)
    expected = [written_out(reference, one, setting) for one in prepared]
    spread = statistics.pstdev(one.margin for one in expected)
    assert spread >= 0.1
    batched = fine_model.score(prepared)
    single = [fine_model.score([one])[0] for one in prepared]
    for scores in (batched, single):
        assert [score.enhanced_at[0] for score in scores] == [one.fired for one in expected]
        assert difference(scores, expected) <= 1e-4 * spread + 1e-6


def difference(scores: list[PairScore], expected: list[Expected]) -> float:
    pairs = zip(scores, expected, strict=True)
    return max(abs((score.margin or math.nan) - one.margin) for score, one in pairs)


def test_the_threshold_of_these_tests_fires_for_some_pairs_and_at_several_layers(
    fine_model: FineModel, pairs: Any, gamma: float
) -> None:
    prepared = prepare(fine_model, pairs, Enhancement(gamma=gamma))
    fired = [score.enhanced_at[0] for score in fine_model.score(prepared)]
    with_images = [layer for layer, one in zip(fired, prepared, strict=True) if one.images]
    assert None in with_images
    assert len({layer for layer in fired if layer is not None}) >= 2


def cold(model: FineModel, score: Any, prepared: list[PreparedPair]) -> list[PairScore]:
    """Scores with nothing at hand, for comparisons to the last bit."""
    model.engine.forget()
    scores: list[PairScore] = score(prepared)
    return scores


@pytest.mark.parametrize("positions", list(Positions))
def test_enhancement_changes_the_pairs_that_fire_and_no_other(
    fine_model: FineModel, pairs: Any, gamma: float, positions: Positions
) -> None:
    setting = Enhancement(alpha=0.3, gamma=gamma, positions=positions)
    score = fine_model.score_plain if positions is Positions.ALL else fine_model.score
    on, off = (cold(fine_model, score, prepare(fine_model, pairs, one)) for one in (setting, None))
    for one, other in zip(on, off, strict=True):
        fired = one.enhanced_at[0] is not None
        assert (one.margin != other.margin) is fired


def test_a_pair_without_an_image_never_fires(
    fine_model: FineModel, content: Callable[..., LoadedContent]
) -> None:
    pair = [(content("a circle"), content("a red circle"))]
    (score,) = fine_model.score(prepare(fine_model, pair, Enhancement(gamma=-1.0)))
    assert score.enhanced_at == (None,)


def test_both_passes_of_a_balanced_choice_report_their_layer(
    fine_model: FineModel, pairs: Any
) -> None:
    spec = replace(
        enhanced_spec(fine_model, Enhancement(gamma=-1.0)), readout=Readout.CHOICE_BALANCED
    )
    query, document = pairs[1]
    (score,) = fine_model.score([fine_model.prepare(query, document, spec)])
    assert score.enhanced_at == (WINDOW[0], WINDOW[0])


def hooks(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


def test_off_equals_never_installed_bit_for_bit(
    fine_model: FineModel, tiny_checkpoint: Any, pairs: Any
) -> None:
    untouched = FineModel.load(
        tiny_checkpoint,
        readouts=[Readout.CHOICE],
        device="cpu",
        dtype="float32",
        images=fine_model.specs[0].images,
    )
    never = untouched.score(prepare(untouched, pairs, None))
    fine_model.score(prepare(fine_model, pairs, Enhancement(gamma=-1.0)))
    for setting in (None, Enhancement(gamma=2.0)):
        prepared = prepare(fine_model, pairs, setting)
        assert cold(fine_model, fine_model.score, prepared) == never


def test_nothing_stays_on_the_modules(fine_model: FineModel, pairs: Any) -> None:
    decoder = fine_model.family.decoder
    modules = [
        *decoder.layers,
        *decoder.entries,
        *(ffn.module for ffn in decoder.ffns),
        decoder.final_norm,
    ]
    before = [dict(vars(module)) for module in modules]
    setting = Enhancement(gamma=-1.0)
    fine_model.score(prepare(fine_model, pairs, setting))
    enhancer = Enhancer(decoder)
    at = (torch.tensor([0]), torch.tensor([0]))
    with enhancer.installed(setting, at, [[]]):
        assert sum(map(hooks, decoder.layers)) == 2 * len(WINDOW)
    with pytest.raises(IndexError), enhancer.installed(setting, at, [[]]):
        [].pop()
    assert sum(map(hooks, modules)) == 0
    assert [dict(vars(module)) for module in modules] == before


def test_a_pass_within_a_pass_does_not_disturb_it(
    fine_model: FineModel, pairs: Any, gamma: float
) -> None:
    setting = Enhancement(gamma=gamma)
    prepared = prepare(fine_model, pairs, setting)
    for _ in range(2):  # the second time all that is shared is at hand
        alone = fine_model.score(prepared)
    enhancer = Enhancer(fine_model.family.decoder)
    at = (torch.arange(3), torch.tensor([3, 4, 5]))
    visual = [[torch.ones(2, 64)]] * 3
    with enhancer.installed(setting, at, visual) as outer:
        assert fine_model.score(prepared) == alone
    assert outer.layer.tolist() == [-1, -1, -1]


def test_threads_do_not_disturb_each_other(fine_model: FineModel, pairs: Any, gamma: float) -> None:
    work = [
        prepare(fine_model, pairs, setting)
        for setting in (Enhancement(gamma=gamma), None, Enhancement(0.3, -1.0, Positions.ALL))
    ]
    for _ in range(2):  # the second time all that is shared is at hand
        alone = [fine_model.score(prepared) for prepared in work]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            assert list(pool.map(fine_model.score, work)) == alone


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(28, range(6, 16)), (8, WINDOW), (4, (1, 2)), (36, range(7, 21)), (2, ())],
)
def test_the_window_is_open_and_scales_with_the_layers(layers: int, expected: Any) -> None:
    assert window(layers) == tuple(expected)


def test_entropy_is_one_for_ten_equal_tokens_and_finite_where_probabilities_underflow() -> None:
    level = torch.cat([torch.full((10,), 5.0), torch.full((20,), -50.0)])
    sharp = torch.tensor([1e4, *range(29)], dtype=torch.float32)
    entropies = top_entropy(torch.stack([level, sharp]))
    assert entropies.tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


def test_a_decoder_with_too_few_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="too few"):
        Enhancer(Decoder((nn.Identity(),) * 2, (), (), nn.Identity(), torch.zeros(3, 2)))
