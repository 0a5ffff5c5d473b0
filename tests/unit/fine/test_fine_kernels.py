"""The attention of packed batches and of vision towers, against attention written out."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from worker.fine.attention import window_attention
from worker.fine.blocks import ROWS, BlockKernel, by_rows
from worker.fine.kernels import VarlenKernel
from worker.fine.prefix import Prefix
from worker.fine.prompts import TextSegment
from worker.fine.readout import vocabulary_logits
from worker.fine.tree import Node
from worker.fine.varlen import varlen_error, varlen_fits

HEADS, KEY_HEADS, SIZE, LAYERS = 4, 2, 8, 2
CPU = torch.device("cpu")


def runs_one_by_one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_bounds: Tensor,
    key_bounds: Tensor,
    longest_query: int,
    longest_key: int,
    scale: float,
    *,
    causal: bool = False,
    align_end: bool = True,
) -> Tensor:
    """Variable-length attention written out: (Tq, H, d), one row after another."""
    rows = []
    starts = query_bounds.tolist(), key_bounds.tolist()
    assert longest_query == max(query_bounds.diff().tolist())
    assert longest_key == max(key_bounds.diff().tolist())
    for no in range(len(starts[0]) - 1):
        q = query[starts[0][no] : starts[0][no + 1]]
        k, v = (one[starts[1][no] : starts[1][no + 1]] for one in (key, value))
        for place, row in enumerate(q):
            ahead = len(k) - len(q) if align_end else 0
            seen = min(len(k), ahead + place + 1) if causal else len(k)
            rows.append(attend_row(row, k[:seen], v[:seen], scale))
    return torch.stack(rows)


def attend_row(row: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """(H, d) of a row (H, d) that sees all keys and values (n, K, d)."""
    groups = row.shape[0] // key.shape[1]
    heads = []
    for head, query in enumerate(row):
        weights = torch.softmax(key[:, head // groups] @ query * scale, 0)
        heads.append(weights @ value[:, head // groups])
    return torch.stack(heads)


def text(length: int) -> tuple[TextSegment, ...]:
    return (TextSegment(tuple(range(length))),)


def node(length: int, before: Node | Prefix | None, row: int) -> Node:
    return Node(text(length), before, 0, 0, row=row)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


@pytest.fixture
def nodes(generator: torch.Generator) -> tuple[list[Node], list[Node]]:
    """All nodes of a batch and those that answer: two stored prefixes, one growing, two passes."""
    root = stored(3, None, generator)
    kept = stored(6, root, generator)
    growing = node(5, root, 0)
    growing.prefix = Prefix(5, 5, root)
    made = [growing]
    for before, lengths in ((kept, (4, 4, 9)), (growing, (2, 7, 7)), (root, (6,)), (None, (5, 5))):
        for length in lengths:
            made.append(node(length, before, made[-1].row + made[-1].length))
    stem = node(4, kept, made[-1].row + made[-1].length)
    questions = [node(3, stem, stem.row + 4), node(3, stem, stem.row + 7)]
    answers = [one for one in made if one is not growing]
    return [*made, stem, *questions], [*answers, *questions]


def stored(length: int, before: Prefix | None, generator: torch.Generator) -> Prefix:
    prefix = Prefix(length, 0, before)
    for _ in range(LAYERS):
        key, value = torch.randn(2, KEY_HEADS, length, SIZE, generator=generator)
        prefix.record(key, value)
    return prefix


def expected_row(one: Node, place: int, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One row's attention by the definition: its context, and its own run up to itself."""
    keys, values = [], []
    for part in one.context:
        if isinstance(part, Prefix):
            keys.append(part.keys[layer])
            values.append(part.values[layer])
        else:
            keys.append(k[:, part.row : part.row + part.length])
            values.append(v[:, part.row : part.row + part.length])
    keys.append(k[:, one.row : one.row + place + 1])
    values.append(v[:, one.row : one.row + place + 1])
    seen = (torch.cat(parts, dim=1).transpose(0, 1) for parts in (keys, values))
    return attend_row(q[:, one.row + place], *seen, scale=SIZE**-0.5)


@pytest.mark.parametrize("kind", ["blocks", "varlen"])
def test_a_kernel_equals_attention_written_out_row_by_row(
    kind: str, nodes: tuple[list[Node], list[Node]], generator: torch.Generator
) -> None:
    every, answers = nodes
    kernel: Any = (
        BlockKernel(every, answers, LAYERS - 1, CPU)
        if kind == "blocks"
        else VarlenKernel(every, answers, LAYERS - 1, CPU, runs_one_by_one)
    )
    total = sum(one.length for one in every)
    for layer in range(LAYERS):
        q = torch.randn(HEADS, total, SIZE, generator=generator)
        k, v = torch.randn(2, KEY_HEADS, total, SIZE, generator=generator)
        if layer < LAYERS - 1:
            places = [(one, place) for one in every for place in range(one.length)]
            rows = [one.row + place for one, place in places]
            found = kernel.attend(layer, q, k, v, SIZE**-0.5)[rows]
        else:
            places = [(one, one.length - 1) for one in answers]
            rows = [one.row + place for one, place in places]
            found = kernel.attend(layer, q[:, rows], k, v, SIZE**-0.5)
        for row, (one, place) in zip(found, places, strict=True):
            assert torch.allclose(row, expected_row(one, place, layer, q, k, v), atol=1e-6)
        growing = every[0].prefix
        assert growing is not None
        assert torch.equal(growing.keys[layer], k[:, :5])
        assert torch.equal(growing.values[layer], v[:, :5])


def test_a_stored_prefix_is_never_written(
    nodes: tuple[list[Node], list[Node]], generator: torch.Generator
) -> None:
    every, answers = nodes
    prefixes = {part for one in every for part in one.context if isinstance(part, Prefix)}
    before = {prefix: [one.clone() for one in prefix.keys] for prefix in prefixes}
    total = sum(one.length for one in every)
    q = torch.randn(HEADS, total, SIZE, generator=generator)
    k, v = torch.randn(2, KEY_HEADS, total, SIZE, generator=generator)
    BlockKernel(every, answers, LAYERS - 1, CPU).attend(0, q, k, v, 1.0)
    for prefix, keys in before.items():
        assert all(torch.equal(one, other) for one, other in zip(prefix.keys, keys, strict=True))
        assert len(prefix.keys) == LAYERS


@pytest.mark.parametrize("lengths", [(4, 4, 4), (4, 9, 4, 1, 9), (7,)])
def test_windows_equal_attention_within_each(
    lengths: tuple[int, ...], generator: torch.Generator
) -> None:
    bounds = torch.tensor([0, *lengths]).cumsum(0).int()
    q, k, v = torch.randn(3, 1, HEADS, sum(lengths), SIZE, generator=generator)
    found, _ = window_attention(None, q, k, v, None, scaling=0.3, cu_seq_lens_q=bounds)
    parts = (one.split(list(lengths), dim=2) for one in (q, k, v))
    expected = [
        F.scaled_dot_product_attention(*part, scale=0.3) for part in zip(*parts, strict=True)
    ]
    assert torch.allclose(found, torch.cat(expected, dim=2).transpose(1, 2), atol=1e-6)


def test_a_kernel_that_aligns_causal_runs_at_their_ends_passes_its_trial() -> None:
    assert varlen_error(runs_one_by_one, CPU, torch.float32, SIZE) < 1e-5


def test_a_kernel_that_aligns_them_at_their_fronts_fails_it() -> None:
    def wrong(*arguments: Any, **options: Any) -> Tensor:
        return runs_one_by_one(*arguments, **options, align_end=False)

    assert varlen_error(wrong, CPU, torch.float32, SIZE) > 0.1


def test_a_processor_has_no_variable_length_kernel() -> None:
    assert not varlen_fits(torch.zeros(1, 1, SIZE, dtype=torch.bfloat16))


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("size", [64, 80, 128])
def test_the_devices_variable_length_kernel_passes_its_trial(size: int) -> None:
    assert varlen_fits(torch.zeros(1, 1, size, dtype=torch.bfloat16, device="cuda"))


@pytest.mark.gpu
@needs_gpu
def test_16_bit_logits_are_summed_in_float32_on_the_device() -> None:
    rows, head = (torch.randn(n, 512, device="cuda").bfloat16() for n in (5, 3000))
    found = vocabulary_logits(rows, head)
    assert found.dtype is torch.float32
    exact = rows.double() @ head.double().T
    assert float((found.double() - exact).abs().max()) < 1e-3 * math.sqrt(512)


@pytest.mark.parametrize("length", [ROWS + 1, 2 * ROWS, 3 * ROWS + 5])
@pytest.mark.parametrize("context", [0, 1, 14, 500])
@pytest.mark.parametrize("groups", [1, 2])
def test_rows_at_a_time_see_what_a_masked_product_shows_them(
    length: int, context: int, groups: int
) -> None:
    generator = torch.Generator().manual_seed(length + context)
    draw = partial(torch.randn, generator=generator)
    query = draw(3, 2 * groups, length, 16)
    keys, values = (draw(3, 2, context + length, 16) for _ in range(2))
    mask = torch.ones(length, context + length).tril(context).bool()
    expected = F.scaled_dot_product_attention(
        query, keys, values, attn_mask=mask, scale=0.3, enable_gqa=True
    )
    found = by_rows(query, keys, values, 0.3)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 2e-6
    assert not torch.allclose(by_rows(query, keys, values.flip(2), 0.3), expected, atol=1e-2)
