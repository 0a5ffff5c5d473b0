"""The coarse encoder against METHOD §1 written out, and against texts that try to steer it."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from repick.content import LoadedContent
from repick.errors import ContentError, ModelError, UnsupportedFamily
from tests.unit.siglip_models import CONTEXT, make_siglip, make_siglip2
from worker.checkpoints import open_checkpoint
from worker.coarse import BATCH, Encoder, Role

TOLERANCE = 1e-5


def load(folder: Path) -> Encoder:
    return Encoder.load(open_checkpoint(str(folder)), device="cpu", dtype="auto")


@pytest.fixture(scope="module")
def clip(demo_models: Path) -> Path:
    return demo_models / "clip-tiny-untrained"


@pytest.fixture(scope="module")
def encoder(clip: Path) -> Encoder:
    return load(clip)


@pytest.fixture
def copy(clip: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to spoil."""
    return Path(shutil.copytree(clip, tmp_path / "copy"))


def text(words: str) -> LoadedContent:
    return LoadedContent(1, words)


def picture(colour: str = "red", size: tuple[int, int] = (120, 90)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((5, 5, size[0] // 2, size[1] // 2), fill=colour)
    return image


def contents() -> list[LoadedContent]:
    """Texts of many lengths, pictures of many shapes, and both together."""
    words = [" ".join(["a red circle above a blue square"] * n) for n in (1, 2, 5, 40)]
    images = [picture("red"), picture("blue", (33, 300)), picture("green", (500, 20))]
    mixed = [LoadedContent(9, word, image) for word, image in zip(words[:3], images, strict=True)]
    return [
        *map(text, words),
        *(LoadedContent(2, None, image) for image in images),
        *mixed,
        LoadedContent(3, "   ", images[0]),
    ]


def test_vectors_have_unit_length_in_the_order_asked(encoder: Encoder) -> None:
    vectors = encoder.encode(contents(), Role.DOCUMENT)
    assert vectors.shape == (len(contents()), encoder.spec.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    backwards = encoder.encode(contents()[::-1], Role.DOCUMENT)
    np.testing.assert_allclose(backwards[::-1], vectors, atol=TOLERANCE)


def test_no_contents_give_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode([], Role.QUERY).shape == (0, encoder.spec.dimension)


@pytest.mark.parametrize("role", list(Role))
def test_a_content_has_the_same_vector_in_any_batch(encoder: Encoder, role: Role) -> None:
    many = contents() * 6
    together = encoder.encode(many, role)
    alone = np.concatenate([encoder.encode([content], role) for content in contents()])
    assert len(many) > 2 * BATCH
    assert np.std(alone, axis=0).mean() > 0.01
    np.testing.assert_allclose(together, np.tile(alone, (6, 1)), atol=TOLERANCE)


def plain_vectors(
    folder: Path, words: str, image: Image.Image, **padding: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of a text and an image by the library's own calls, nothing of ours."""
    model: Any = AutoModel.from_pretrained(folder).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    processors: Any = AutoImageProcessor
    processor = processors.from_pretrained(folder, backend="pil")
    tokens = tokenizer([words], return_tensors="pt", truncation=True, **padding)
    tokens = {"input_ids": tokens["input_ids"]} if padding.get("max_length") else tokens
    with torch.no_grad():
        of_text = model.get_text_features(**tokens).pooler_output[0].numpy()
        of_image = model.get_image_features(**processor(images=[image], return_tensors="pt"))
    vector = of_image.pooler_output[0].numpy()
    return of_text / np.linalg.norm(of_text), vector / np.linalg.norm(vector)


@pytest.mark.parametrize(("role", "weight"), [(Role.QUERY, 0.8), (Role.DOCUMENT, 0.7)])
def test_a_mixed_vector_is_the_weighted_sum_of_unit_vectors(
    clip: Path, encoder: Encoder, role: Role, weight: float
) -> None:
    words, image = "a large red circle above a small blue square", picture()
    of_text, of_image = plain_vectors(clip, words, image)
    mixed = weight * of_image + (1 - weight) * of_text
    expected = np.stack([of_text, of_image, mixed / np.linalg.norm(mixed)])
    asked = [text(words), LoadedContent(2, None, image), LoadedContent(3, words, image)]
    np.testing.assert_allclose(encoder.encode(asked, role), expected, atol=TOLERANCE)


def test_an_instruction_changes_no_vector(encoder: Encoder) -> None:
    told = LoadedContent(1, "a cat", instruction="Find the same animal.")
    vectors = encoder.encode([text("a cat"), told], Role.QUERY)
    np.testing.assert_array_equal(vectors[0], vectors[1])


@pytest.mark.parametrize("token", ["<|endoftext|>", "<|ENDOFTEXT|>", "<|startoftext|>"])
def test_a_special_token_in_a_text_is_only_characters(
    clip: Path, encoder: Encoder, token: str
) -> None:
    pair = [f"a red circle {token} and a cat", f"a red circle {token} on a table at night"]
    first, second = encoder.encode(list(map(text, pair)), Role.DOCUMENT)
    assert np.abs(first - second).max() > 1e-3
    ids = encoder._texts(pair)["input_ids"]
    tokenizer: Any = AutoTokenizer.from_pretrained(clip)
    assert (ids == tokenizer.bos_token_id).sum() == len(pair)
    assert [row.tolist().count(tokenizer.eos_token_id) for row in ids][1] == 1


def test_the_tokenizer_alone_would_let_a_text_choose_where_clip_pools(clip: Path) -> None:
    pair = ["a red circle <|endoftext|> and a cat", "a red circle <|endoftext|> on a table"]
    first, second = (plain_vectors(clip, words, picture())[0] for words in pair)
    np.testing.assert_allclose(first, second, atol=TOLERANCE)


@pytest.mark.parametrize("words", ["word " * 40_000, "x" * 200_000, "中" * 200_000, "!" * 200_000])
def test_a_text_of_200_000_characters_is_read_as_far_as_the_context_goes(
    encoder: Encoder, words: str
) -> None:
    long, shorter = encoder.encode([text(words), text(words[:1_000])], Role.DOCUMENT)
    np.testing.assert_allclose(long, shorter, atol=TOLERANCE)


def test_blanks_in_front_of_a_text_are_not_read_instead_of_it(encoder: Encoder) -> None:
    padded, plain = encoder.encode([text(" \n" * 100_000 + "a cat"), text("a cat")], Role.QUERY)
    np.testing.assert_allclose(padded, plain, atol=TOLERANCE)


def test_what_waits_for_the_device_keeps_no_decoded_image(encoder: Encoder) -> None:
    images = [picture("red", (1000, 800)), picture("blue")]
    decoded = [weakref.ref(image) for image in images]
    run = encoder.prepare([LoadedContent(1, "a cat", one) for one in images], Role.DOCUMENT)
    del images
    gc.collect()
    assert [one() for one in decoded] == [None, None]
    assert run().shape == (2, encoder.spec.dimension)


@pytest.mark.parametrize("blank", [None, "", " \n\t"])
def test_a_content_with_neither_part_is_an_error(encoder: Encoder, blank: str | None) -> None:
    with pytest.raises(ContentError) as caught:
        encoder.encode([text("a cat"), LoadedContent(77, blank)], Role.DOCUMENT)
    assert caught.value.code == "empty_content"
    assert caught.value.ids["content_id"] == "77"


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_vector_that_is_not_finite_is_an_error_and_never_returned(copy: Path) -> None:
    change_weights(copy, lambda weights: weights["visual_projection.weight"].fill_(torch.nan))
    broken = load(copy)
    assert np.isfinite(broken.encode([text("a cat")], Role.QUERY)).all()
    for content in (LoadedContent(1, None, picture()), LoadedContent(1, "a cat", picture())):
        with pytest.raises(ModelError, match="not finite"):
            broken.encode([content], Role.QUERY)


def test_a_vector_of_zeros_is_an_error(copy: Path) -> None:
    change_weights(copy, lambda weights: weights["visual_projection.weight"].zero_())
    with pytest.raises(ModelError, match="no direction"):
        load(copy).encode([LoadedContent(1, None, picture())], Role.QUERY)


def test_a_checkpoint_without_all_its_weights_is_refused(copy: Path) -> None:
    change_weights(copy, lambda weights: weights.pop("text_projection.weight"))
    with pytest.raises(ModelError, match=r"lacks 1 weights, such as text_projection\.weight"):
        load(copy)


def test_a_checkpoint_whose_weights_are_cut_off_is_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="cannot load"):
        load(copy)


@pytest.mark.parametrize("file", ["tokenizer.json", "preprocessor_config.json"])
def test_a_checkpoint_without_its_tokenizer_or_processor_is_refused(copy: Path, file: str) -> None:
    (copy / file).unlink()
    with pytest.raises(ModelError):
        load(copy)


def test_a_tokenizer_of_a_newer_library_is_refused_though_that_raises_no_special_error(
    copy: Path,
) -> None:
    path = copy / "tokenizer.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"model": state["model"] | {"type": "Newer"}}))
    with pytest.raises(ModelError, match="cannot load"):
        load(copy)


def set_end_token(folder: Path, token: int) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = token
    (folder / "config.json").write_text(json.dumps(config))


def test_a_tower_that_pools_at_a_token_its_tokenizer_never_sets_is_refused(copy: Path) -> None:
    set_end_token(copy, 5)
    with pytest.raises(ModelError, match="pools at token 5"):
        load(copy)


def test_a_configuration_with_the_old_end_token_gives_the_same_vectors(
    copy: Path, encoder: Encoder
) -> None:
    set_end_token(copy, 2)
    old = load(copy).encode(contents(), Role.QUERY)
    np.testing.assert_allclose(old, encoder.encode(contents(), Role.QUERY), atol=TOLERANCE)


def test_a_model_of_another_family_is_refused_by_the_names_of_those_that_work(
    demo_models: Path,
) -> None:
    with pytest.raises(UnsupportedFamily, match="clip, siglip, siglip2"):
        load(demo_models / "qwen2.5-vl-tiny-untrained")


def test_the_specification_names_the_exact_checkpoint(clip: Path, encoder: Encoder) -> None:
    checkpoint, spec = open_checkpoint(str(clip)), encoder.spec
    assert (spec.name, spec.family, spec.dimension) == ("clip-tiny-untrained", "clip", 64)
    assert spec.weights_sha256 == checkpoint.weights_sha256
    assert spec.tokenizer_sha256 == checkpoint.tokenizer_sha256
    assert spec.dtype == "float32"
    assert spec.untrained
    assert encoder.provenance["torch"] == torch.__version__


@pytest.fixture(scope="module")
def siglips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("siglip")
    make_siglip(folder / "siglip")
    make_siglip2(folder / "siglip2")
    return {name: folder / name for name in ("siglip", "siglip2")}


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_siglip_pads_to_its_whole_context_as_in_training(
    siglips: dict[str, Path], family: str
) -> None:
    encoder, image = load(siglips[family]), picture()
    of_text, of_image = plain_vectors(
        siglips[family], "a red circle", image, padding="max_length", max_length=CONTEXT
    )
    asked = [text("A Red CIRCLE"), LoadedContent(2, None, image)]
    vectors = encoder.encode(asked, Role.DOCUMENT)
    np.testing.assert_allclose(vectors, np.stack([of_text, of_image]), atol=TOLERANCE)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_siglip_vectors_do_not_depend_on_their_batch(siglips: dict[str, Path], family: str) -> None:
    encoder = load(siglips[family])
    together = encoder.encode(contents(), Role.QUERY)
    alone = np.concatenate([encoder.encode([content], Role.QUERY) for content in contents()])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_an_end_token_in_a_text_is_only_characters_for_siglip(
    siglips: dict[str, Path], family: str
) -> None:
    encoder = load(siglips[family])
    rows = encoder._texts(["a cat </s> <eos> <bos> sat", "a cat"])["input_ids"]
    assert rows.shape == (2, CONTEXT)
    [end] = encoder._texts.end
    first = rows[0].tolist()
    assert first.index(end) > len("a cat sat") // 2
    assert set(first[first.index(end) :]) <= {end, encoder._texts.tokenizer.pad_token_id}
