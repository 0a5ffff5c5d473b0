"""Which checkpoints are opened, under which name and hashes, and which are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from repick.errors import InvalidField, ModelError, Unavailable, UnsafeCheckpoint
from worker.checkpoints import open_checkpoint
from worker.hashes import HashCache

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "repick" / "file-hashes.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Enough of a checkpoint to be opened; nothing here reads the weights."""
    folder = tmp_path / "My Model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "clip"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_a_folder_is_opened_under_a_slug_of_its_name(folder: Path) -> None:
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.name == "my-model"
    assert checkpoint.folder == folder.resolve()
    assert not checkpoint.untrained


def test_a_given_name_is_taken_and_an_unusable_one_refused(folder: Path) -> None:
    assert open_checkpoint(str(folder), "clip-l").name == "clip-l"
    with pytest.raises(InvalidField, match="must match"):
        open_checkpoint(str(folder), "../CLIP")


def test_a_folder_whose_name_has_no_usable_letter_needs_a_given_one(folder: Path) -> None:
    renamed = folder.rename(folder.with_name("模型"))
    with pytest.raises(InvalidField, match="give the model one"):
        open_checkpoint(str(renamed))


@pytest.mark.parametrize(
    ("file", "weights_differ", "tokenizer_differs"),
    [
        ("model.safetensors", True, False),
        ("more.safetensors", True, False),
        ("config.json", True, False),
        ("tokenizer.json", False, True),
        ("preprocessor_config.json", False, True),
        ("chat_template.jinja", False, True),
        ("spiece.model", False, True),
        ("README.md", False, False),
    ],
)
def test_hashes_change_with_exactly_what_changes_an_output(
    folder: Path, file: str, weights_differ: bool, tokenizer_differs: bool
) -> None:
    before = open_checkpoint(str(folder))
    (folder / file).write_text('{"changed": true}')
    after = open_checkpoint(str(folder))
    assert (before.weights_sha256 != after.weights_sha256) == weights_differ
    assert (before.tokenizer_sha256 != after.tokenizer_sha256) == tokenizer_differs


def test_hashes_do_not_depend_on_where_the_folder_lies(folder: Path, tmp_path: Path) -> None:
    before = open_checkpoint(str(folder))
    moved = folder.rename(tmp_path / "elsewhere")
    after = open_checkpoint(str(moved))
    assert before.weights_sha256 == after.weights_sha256
    assert before.tokenizer_sha256 == after.tokenizer_sha256


def test_swapped_contents_of_two_shards_are_another_checkpoint(folder: Path) -> None:
    first, second = folder / "a.safetensors", folder / "b.safetensors"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    before = open_checkpoint(str(folder)).weights_sha256
    first.write_bytes(b"two")
    second.write_bytes(b"one")
    assert open_checkpoint(str(folder)).weights_sha256 != before


def test_a_file_is_hashed_again_only_when_it_changed(folder: Path, cache_file: Path) -> None:
    cache, weights = HashCache.of_user(), folder / "model.safetensors"
    digest = cache.sha256(weights)
    [key] = json.loads(cache_file.read_text())
    cache_file.write_text(json.dumps({key: "from the cache"}))
    assert cache.sha256(weights) == "from the cache"
    times = weights.stat()
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert cache.sha256(weights) not in ("from the cache", digest)


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', "not json"])
def test_a_spoilt_hash_cache_costs_only_time(folder: Path, cache_file: Path, content: str) -> None:
    before = open_checkpoint(str(folder))
    cache_file.write_text(content)
    assert open_checkpoint(str(folder)) == before


def test_a_cache_that_cannot_be_written_does_not_stop_a_worker(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert open_checkpoint(str(folder)).name == "my-model"


def test_the_marker_says_that_weights_are_untrained(folder: Path) -> None:
    (folder / "repick.json").write_text('{"untrained": true}')
    assert open_checkpoint(str(folder)).untrained


@pytest.mark.parametrize("other", ["pytorch_model.bin", "model.pt", "README.md"])
def test_weights_other_than_safetensors_are_refused(folder: Path, other: str) -> None:
    (folder / "model.safetensors").rename(folder / other)
    with pytest.raises(UnsafeCheckpoint, match=r"no \.safetensors file"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_checkpoint_that_brings_code_is_refused(folder: Path, file: str) -> None:
    (folder / file).write_text('{"auto_map": {"AutoModel": "modeling.Mine"}}')
    with pytest.raises(UnsafeCheckpoint, match="auto_map"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("with_base", [True, False])
def test_an_adapter_is_not_passed_over_but_refused(folder: Path, with_base: bool) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    if not with_base:
        (folder / "config.json").unlink()
        (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"adapter.*merge_and_unload"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("method", ["awq", "bitsandbytes", "compressed-tensors", "fp8", "gptq"])
def test_a_quantised_checkpoint_is_refused_before_a_library_asks_for_more(
    folder: Path, method: str
) -> None:
    setting = {"quantization_config": {"quant_method": method}}
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"} | setting))
    with pytest.raises(ModelError, match=rf"quantised \({method}\).* use the checkpoint"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_clone_without_its_large_files_is_refused_and_told_how_to_get_them(
    folder: Path, file: str
) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    (folder / file).write_text(pointer)
    with pytest.raises(ModelError, match=rf"{file} is a Git LFS pointer.*git lfs pull"):
        open_checkpoint(str(folder))


def test_a_link_to_weights_that_are_gone_is_an_error(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "gone")
    with pytest.raises(ModelError, match=r"cannot read model\.safetensors"):
        open_checkpoint(str(folder))


def test_a_missing_shard_is_named(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"lacks model-00002\.safetensors"):
        open_checkpoint(str(folder))


def _without(folder: Path) -> None:
    (folder / "config.json").unlink()


def _truncated(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def _listed(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


@pytest.mark.parametrize("spoil", [_without, _truncated, _listed])
def test_a_configuration_that_is_missing_or_broken_is_an_error(
    folder: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match=r"config\.json"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("revision", ["", "@main", "@v1.0", f"@{COMMIT[:12]}"])
def test_a_hub_id_without_its_commit_is_refused_and_told_how_to_pin(revision: str) -> None:
    with pytest.raises(UnsafeCheckpoint, match="40 hexadecimal digits"):
        open_checkpoint(f"openai/clip-vit-large-patch14-336{revision}")


@pytest.mark.parametrize("location", ["no-such-folder", "/no/such/folder", ""])
def test_a_place_that_is_neither_folder_nor_hub_id_is_an_error(location: str) -> None:
    with pytest.raises(ModelError, match="no folder") as caught:
        open_checkpoint(location)
    assert not isinstance(caught.value, UnsafeCheckpoint)


def test_a_pinned_hub_id_fetches_that_commit_without_pickles(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--openai--CLIP-ViT-L" / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    asked: dict[str, object] = {}

    def fetch(repo: str, **options: object) -> str:
        asked.update(options, repo=repo)
        return str(snapshot)

    monkeypatch.setattr("worker.checkpoints.snapshot_download", fetch)
    assert open_checkpoint(f"openai/CLIP-ViT-L@{COMMIT}").name == "clip-vit-l"
    assert asked["repo"] == "openai/CLIP-ViT-L"
    assert asked["revision"] == COMMIT
    patterns = asked["allow_patterns"]
    assert isinstance(patterns, list)
    assert "*.safetensors" in patterns
    assert not {"*.bin", "*.py", "*"} & set(patterns)


def _response(status: int) -> Any:  # the hub's client brings an httpx of its own name
    return httpx.Response(status, request=httpx.Request("GET", "https://example.org"))


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (lambda: RepositoryNotFoundError("gone", response=_response(404)), ModelError),
        (lambda: LocalEntryNotFoundError("offline"), Unavailable),
        (lambda: ConnectionResetError("reset"), Unavailable),
    ],
)
def test_failures_of_the_hub_are_told_apart(
    failure: Callable[[], Exception], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object, **__: object) -> str:
        raise failure()

    monkeypatch.setattr("worker.checkpoints.snapshot_download", fetch)
    with pytest.raises(error):
        open_checkpoint(f"openai/clip@{COMMIT}")
