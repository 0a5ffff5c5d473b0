"""Which checkpoints are loaded, under which specifications, and which are refused."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2Tokenizer

from repick.content import LoadedContent
from repick.errors import ModelError, SelfTestFailed, UnsupportedFamily
from repick.jobs import PairScore
from repick.specs import Enhancement, ImageLimits, Readout, ScorerSpec, fingerprint
from worker.checkpoints import Checkpoint, open_checkpoint
from worker.fine.placement import pick_device, pick_dtype
from worker.fine.scorer import FineModel
from worker.selftest import check_golden, golden_pairs


def load(checkpoint: Checkpoint, like: FineModel, dtype: str = "float32") -> FineModel:
    return FineModel.load(
        checkpoint,
        readouts=[Readout.CHOICE, Readout.RATING],
        device="cpu",
        dtype=dtype,
        images=like.specs[0].images,
    )


@pytest.fixture
def copied(tiny_checkpoint: Checkpoint, tmp_path: Path) -> Checkpoint:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_checkpoint.folder, folder)
    return replace(tiny_checkpoint, folder=folder)


def changed(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_every_readout_is_registered_enhanced_and_plain(fine_model: FineModel) -> None:
    names = [spec.name for spec in fine_model.specs]
    assert sorted(names) == sorted(
        f"tiny:{readout}{plain}" for readout in Readout for plain in ("", ":plain")
    )
    assert {spec.enhancement for spec in fine_model.specs} == {None, Enhancement()}
    assert len({fingerprint(spec) for spec in fine_model.specs}) == len(names)
    assert {spec.dtype for spec in fine_model.specs} == {"float32"}
    assert set(fine_model.provenance) == {"device", "dtype", "torch", "transformers"}


def test_an_unknown_family_is_refused_naming_the_supported(
    copied: Checkpoint, fine_model: FineModel
) -> None:
    path = copied.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "llava"}))
    with pytest.raises(UnsupportedFamily, match="'llava'; supported: qwen2_5_vl"):
        load(copied, fine_model)


def test_a_checkpoint_that_lacks_weights_is_refused_and_not_filled_with_random_ones(
    copied: Checkpoint, fine_model: FineModel
) -> None:
    path = copied.folder / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.3.mlp.gate_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 weights"):
        load(copied, fine_model)


def test_a_checkpoint_whose_weights_have_another_shape_than_it_says_is_refused_naming_one(
    copied: Checkpoint, fine_model: FineModel
) -> None:
    config = copied.folder / "config.json"
    vision = json.loads(config.read_text())["vision_config"]
    changed(config, vision_config=vision | {"patch_size": 16})
    with pytest.raises(ModelError, match=r"1 weights of another shape .* as .*patch_embed"):
        load(copied, fine_model)


def test_a_checkpoint_whose_head_is_its_embeddings_is_whole(
    copied: Checkpoint, fine_model: FineModel, content: Callable[..., LoadedContent]
) -> None:
    config = copied.folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": True}))
    path = copied.folder / "model.safetensors"
    weights = load_file(path)
    del weights["lm_head.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    model = load(copied, fine_model)
    assert torch.equal(model.family.decoder.head, weights["model.embed_tokens.weight"])
    spec = model.specs[0]
    assert len(model.score([model.prepare(content("a"), content(picture=1), spec)])) == 1


def test_the_first_checkpoints_of_qwen2_5_vl_load_though_their_processor_has_another_name(
    copied: Checkpoint, fine_model: FineModel, content: Callable[..., LoadedContent]
) -> None:
    path = copied.folder / "preprocessor_config.json"
    named = {"image_processor_type": "Qwen2_5_VLImageProcessor"}
    path.write_text(json.dumps(json.loads(path.read_text()) | named))
    pair = content("a"), content(picture=1)
    found, expected = (
        model.score([model.prepare(*pair, fine_model.specs[0])])
        for model in (load(copied, fine_model), fine_model)
    )
    assert found == expected


def test_a_checkpoint_without_an_image_processor_is_refused(
    copied: Checkpoint, fine_model: FineModel
) -> None:
    (copied.folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="copy"):
        load(copied, fine_model)


@pytest.mark.parametrize("setting", ["patch_size", "merge_size", "temporal_patch_size"])
def test_an_image_processor_of_another_model_is_refused(
    copied: Checkpoint, fine_model: FineModel, setting: str
) -> None:
    changed(copied.folder / "preprocessor_config.json", **{setting: 4})
    with pytest.raises(ModelError, match=rf"image processor has {setting} 4, the model \d+"):
        load(copied, fine_model)


@pytest.mark.parametrize("token", ["image_token_id", "vision_start_token_id"])
@pytest.mark.parametrize("value", [5, 151_655])
def test_image_tokens_that_the_tokenizer_does_not_have_are_refused(
    copied: Checkpoint, fine_model: FineModel, token: str, value: int
) -> None:
    changed(copied.folder / "config.json", **{token: value})
    with pytest.raises(ModelError, match=rf"{token} {value} is no control token"):
        load(copied, fine_model)


def test_a_tokenizer_that_knows_more_tokens_than_the_model_is_refused(
    copied: Checkpoint, fine_model: FineModel
) -> None:
    path = copied.folder / "model.safetensors"
    weights = load_file(path)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:200].clone()
    save_file(weights, path, metadata={"format": "pt"})
    config = copied.folder / "config.json"
    text = json.loads(config.read_text())["text_config"]
    changed(config, text_config=text | {"vocab_size": 200})
    with pytest.raises(ModelError, match="tokens, the model 200"):
        load(copied, fine_model)


def test_a_label_word_that_is_a_control_token_is_refused(
    copied: Checkpoint, fine_model: FineModel
) -> None:
    tokenizer: Any = Qwen2Tokenizer.from_pretrained(copied.folder)
    tokenizer.add_tokens(["A"])
    tokenizer.save_pretrained(copied.folder)
    with pytest.raises(ModelError, match="tokenizer of copy takes words of a question"):
        load(copied, fine_model)


def test_shards_in_the_hubs_cache_load_as_the_whole_does(
    tiny_folder: Path, tmp_path: Path, fine_model: FineModel, content: Callable[..., LoadedContent]
) -> None:
    blobs, commit = tmp_path / "models--org--Tiny" / "blobs", "a" * 40
    shutil.copytree(tiny_folder, blobs)
    weights = load_file(blobs / "model.safetensors")
    (blobs / "model.safetensors").unlink()
    shards = [f"model-{no}-of-2.safetensors" for no in (1, 2)]
    placed = {name: shards[no % 2] for no, name in enumerate(weights)}
    for shard in shards:
        part = {name: weights[name] for name, at in placed.items() if at == shard}
        save_file(part, blobs / shard, metadata={"format": "pt"})
    (blobs / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": placed})
    )
    snapshot = blobs.parent / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(Path("../../blobs") / blob.name)
    checkpoint = open_checkpoint(str(snapshot))
    assert checkpoint.name == "tiny"
    pair = content("a"), content(picture=1)
    found, expected = (
        model.score([model.prepare(*pair, fine_model.specs[0])])
        for model in (load(checkpoint, fine_model), fine_model)
    )
    assert found == expected


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_checkpoint_whose_download_broke_off_is_refused(
    copied: Checkpoint, fine_model: FineModel, name: str
) -> None:
    path = copied.folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match="copy"):
        load(copied, fine_model)


def _of_a_newer_library(folder: Path) -> None:
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"model": state["model"] | {"type": "Newer"}}))


def _of_an_unknown_rotation(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["rope_parameters"]["rope_type"] = "newer"
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("spoil", [_of_a_newer_library, _of_an_unknown_rotation])
def test_a_checkpoint_that_the_libraries_cannot_read_is_refused_whatever_they_raise(
    copied: Checkpoint, fine_model: FineModel, spoil: Callable[[Path], None]
) -> None:
    spoil(copied.folder)
    with pytest.raises(ModelError, match=r"cannot load copy: .*(variant|newer)"):
        load(copied, fine_model)


def test_positions_that_the_longest_prompt_of_a_batch_would_turn_are_refused(
    copied: Checkpoint, fine_model: FineModel
) -> None:
    path = copied.folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["rope_parameters"] |= {"rope_type": "dynamic", "factor": 4.0}
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="rope_type dynamic is not supported"):
        load(copied, fine_model)


def test_a_readout_that_was_not_loaded_is_refused(
    tiny_checkpoint: Checkpoint, fine_model: FineModel, content: Callable[..., LoadedContent]
) -> None:
    model = load(tiny_checkpoint, fine_model)
    spec = replace(model.specs[0], readout=Readout.PAPER)
    with pytest.raises(ModelError, match="not loaded"):
        model.score([model.prepare(content("a"), content("b"), spec)])


def test_a_batch_of_two_specifications_is_refused(
    fine_model: FineModel, content: Callable[..., LoadedContent]
) -> None:
    pairs = [fine_model.prepare(content("a"), content("b"), spec) for spec in fine_model.specs[:2]]
    with pytest.raises(ValueError, match="one specification"):
        fine_model.score(pairs)
    assert fine_model.score([]) == []


def test_bfloat16_margins_are_finer_than_bfloat16_and_near_their_own_single_pairs(
    tiny_checkpoint: Checkpoint, fine_model: FineModel, content: Callable[..., LoadedContent]
) -> None:
    model = load(tiny_checkpoint, fine_model, "bfloat16")
    spec = model.specs[1]
    assert (spec.dtype, spec.enhancement) == ("bfloat16", None)
    documents = [content("red"), content(picture=1), content("blue", picture=2, size=(200, 90))]
    pairs = [model.prepare(content("a circle"), document, spec) for document in documents]
    logits = [value for score in model.score(pairs) for value in score.label_logits[0]]
    rounded = torch.tensor(logits).bfloat16().tolist()
    assert statistics.fmean(a != b for a, b in zip(logits, rounded, strict=True)) > 0.9


def test_auto_places_a_model_on_the_cpu_in_float32_where_there_is_nothing_else() -> None:
    cpu = torch.device("cpu")
    assert pick_dtype("auto", cpu) is torch.float32
    assert pick_dtype("auto", torch.device("cuda")) is torch.bfloat16
    assert pick_device("cpu") == cpu
    for refused in (lambda: pick_dtype("int3", cpu), lambda: pick_device("abacus")):
        with pytest.raises(ModelError):
            refused()


@pytest.mark.parametrize(("least", "most"), [(500_000, 401_408), (0, 401_408), (-5, -5)])
def test_pixel_limits_that_no_image_can_keep_are_refused(
    tiny_checkpoint: Checkpoint, least: int, most: int
) -> None:
    with pytest.raises(ModelError, match=f"{least} to {most} pixels"):
        FineModel.load(
            tiny_checkpoint,
            readouts=[Readout.CHOICE],
            device="cpu",
            dtype="float32",
            images=ImageLimits(least, most),
        )


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    seen = int(name.endswith("1"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    with pytest.raises(ModelError, match=rf"no device '{name}': torch .* sees {seen} CUDA GPUs"):
        pick_device(name)


def golden_scores(*margins: float, mass: float = 0.9) -> list[PairScore]:
    return [PairScore(m, 0.5, mass, 1.0, (None,), ((m, 0.0),)) for m in margins]


def test_golden_pairs_are_the_same_every_time_and_their_pictures_differ() -> None:
    one, other = golden_pairs(), golden_pairs()
    keys = [document.media_sha256 for _, document in one]
    assert keys == [document.media_sha256 for _, document in other]
    assert keys[0] != keys[1]
    assert keys[:2] == keys[2:]


def test_golden_scores_that_tell_the_images_apart_pass(fine_model: FineModel) -> None:
    check_golden(fine_model.specs[0], golden_scores(2.0, -1.0, -2.0, 1.0))


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (golden_scores(2.0, -1.0, -2.0, 1.0, mass=0.05), "mean label mass 0.05"),
        (golden_scores(2.0, -1.0, 1.0, 1.0), r"same margin \(margins 2, -1, 1, 1\)"),
        (golden_scores(2.0, math.nan, -2.0, 1.0), "not finite"),
    ],
)
def test_golden_scores_that_do_not_are_refused_with_the_figures(
    fine_model: FineModel, scores: list[PairScore], reason: str
) -> None:
    with pytest.raises(SelfTestFailed, match=rf"tiny:choice failed .*{reason}"):
        check_golden(fine_model.specs[0], scores)


def test_a_model_that_does_not_answer_is_refused_unless_it_is_marked_untrained(
    fine_model: FineModel, tiny_checkpoint: Checkpoint
) -> None:
    spec: ScorerSpec = fine_model.specs[0]
    with pytest.raises(SelfTestFailed, match=r"label mass .* does not answer with A or B"):
        fine_model.self_test(spec)
    marked = load(replace(tiny_checkpoint, untrained=True), fine_model)
    assert marked.specs[0].untrained
    marked.self_test(marked.specs[0])


def test_a_model_that_breaks_on_the_golden_pairs_fails_its_self_test_whatever_it_raises(
    copied: Checkpoint, fine_model: FineModel
) -> None:
    changed(copied.folder / "preprocessor_config.json", do_resize=False)
    model = load(copied, fine_model)
    with pytest.raises(SelfTestFailed, match=r"tiny:choice failed .*cannot score the golden pairs"):
        model.self_test(model.specs[0])
