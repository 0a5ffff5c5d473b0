"""Where a model's files are, whether they are safe to load, and which exact files they are.

Only safetensors weights are taken, nothing that would run a checkpoint's own code, and from the
hub only a revision pinned by its commit: what is scored today is what will be scored tomorrow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from repick.errors import InvalidField, ModelError, Unavailable, UnsafeCheckpoint
from repick.specs import NAME
from worker.hashes import HashCache, combined_sha256

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
)
DOWNLOADED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
MARKER = "repick.json"
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^@/]+))?")
_POINTER = b"version https://git-lfs."
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SNAPSHOT = re.compile(r"models--.+--(?P<name>.+)/snapshots/[0-9a-f]{40}$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that is safe to load, with the hashes of all in it that changes an output.

    `weights_sha256` covers config.json and every weights file; `tokenizer_sha256` the tokenizer,
    the image preprocessor and the chat template. `untrained` marks random weights, whose scores
    mean nothing.
    """

    folder: Path
    name: str
    weights_sha256: str
    tokenizer_sha256: str
    untrained: bool


def open_checkpoint(location: str, name: str = "") -> Checkpoint:
    """Find, check and hash the checkpoint at a local folder or a hub id `org/name@commit`.

    Hashes of large files are remembered in the user's cache folder, so that a model of 16 GB is
    read once. Raises UnsafeCheckpoint for weights other than safetensors, remote code or a hub id
    without its commit; ModelError where files are missing or unreadable, or weights quantised or
    an adapter's; Unavailable where the hub does not answer; InvalidField for a `name` that does
    not fit `specs.NAME`.
    """
    folder = _folder(location)
    _refuse_adapter(folder)
    _refuse_quantised(folder)
    _refuse_remote_code(folder)
    weights, tokenizer = _weights(folder), _tokenizer_files(folder)
    _refuse_pointers([*weights, *tokenizer])
    cache = HashCache.of_user()
    return Checkpoint(
        folder=folder,
        name=_name(name, location, folder),
        weights_sha256=combined_sha256([folder / "config.json", *weights], folder, cache),
        tokenizer_sha256=combined_sha256(tokenizer, folder, cache),
        untrained=_is_untrained(folder),
    )


def _folder(location: str) -> Path:
    path = Path(location).expanduser()
    if location and path.is_dir():
        return path.resolve()
    hub = _HUB_ID.fullmatch(location)
    if not hub:
        raise ModelError(f"no folder {location!r}, and it is not a hub id", location=location)
    repo, revision = hub["repo"], hub["revision"] or ""
    if not _COMMIT.fullmatch(revision):
        raise UnsafeCheckpoint(
            f"no folder {location!r}; as a hub id it must be pinned to a commit, written "
            f"{repo}@ followed by the 40 hexadecimal digits of the commit (on the hub: Files and "
            "versions, History)",
            location=location,
        )
    return _download(repo, revision)


def _download(repo: str, revision: str) -> Path:
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(DOWNLOADED)))
    except (RepositoryNotFoundError, RevisionNotFoundError) as exc:
        raise ModelError(f"the hub has no {repo}@{revision} for this user", location=repo) from exc
    except (HfHubHTTPError, OSError) as exc:
        raise Unavailable(f"cannot fetch {repo}@{revision}: {exc}", location=repo) from exc


def _weights(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        other = [path.name for kind in ("*.bin", "*.pt", "*.pth") for path in folder.glob(kind)]
        detail = f"only {', '.join(sorted(other))}" if other else "no weights at all"
        raise UnsafeCheckpoint(
            f"{folder.name} has no .safetensors file, {detail}; convert it with "
            "save_pretrained(..., safe_serialization=True)",
            location=folder,
        )
    missing = _shards(folder) - {path.name for path in files}
    if missing:
        raise ModelError(f"{folder.name} lacks {', '.join(sorted(missing))}", location=folder)
    return files


def _shards(folder: Path) -> set[str]:
    """Names of the files that the index of a sharded checkpoint refers to."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return set()
    weight_map = read_json(index).get("weight_map", {})
    if not isinstance(weight_map, dict):
        raise ModelError(f"{index.name} has no weight_map", location=folder)
    return {str(name) for name in weight_map.values()}


def _refuse_adapter(folder: Path) -> None:
    """The base model alone would be served in its place, with scores of its own."""
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder.name} holds an adapter (LoRA): merge it into its base model with PEFT's "
            "merge_and_unload(), and save that",
            location=folder,
        )


def _refuse_quantised(folder: Path) -> None:
    """Enhancement takes a layer's weights for numbers; packed ones are not, and nothing says so."""
    setting = read_json(folder / "config.json").get("quantization_config")
    if setting:
        method = setting.get("quant_method") if isinstance(setting, dict) else setting
        raise ModelError(
            f"{folder.name} is quantised ({method}), which is not supported: use the checkpoint "
            "that it was made from",
            location=folder,
        )


def _refuse_remote_code(folder: Path) -> None:
    """`auto_map` names Python files of the checkpoint that transformers would be told to run."""
    for path in sorted(folder.glob("*config.json")):
        if "auto_map" in read_json(path):
            raise UnsafeCheckpoint(
                f"{path.name} of {folder.name} has auto_map: it would run the checkpoint's code",
                location=folder,
            )


def _refuse_pointers(files: Iterable[Path]) -> None:
    """A clone without Git LFS has a few lines of text in the place of each large file."""
    for path in files:
        try:
            with path.open("rb") as file:
                start = file.read(len(_POINTER))
        except OSError as exc:
            raise ModelError(f"cannot read {path.name}: {exc}", location=path.parent) from exc
        if start == _POINTER:
            raise ModelError(
                f"{path.name} is a Git LFS pointer and not the file: run `git lfs pull` in "
                f"{path.parent.name}",
                location=path.parent,
            )


def _tokenizer_files(folder: Path) -> list[Path]:
    return sorted({path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)})


def _is_untrained(folder: Path) -> bool:
    marker = folder / MARKER
    return marker.exists() and read_json(marker).get("untrained") is True


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint; ModelError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ModelError(f"{path.parent.name} has no {path.name}", location=path.parent) from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"cannot read {path.name}: {exc}", location=path.parent) from exc
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} is not a JSON object", location=path.parent)
    return value


def _name(given: str, location: str, folder: Path) -> str:
    """The name under which specifications and queues know this model."""
    if given:
        if not NAME.fullmatch(given):
            raise InvalidField("name", f"a model's name must match {NAME.pattern}, not {given!r}")
        return given
    snapshot = _SNAPSHOT.search(folder.as_posix())
    slug = re.sub(r"[^a-z0-9._-]+", "-", (snapshot["name"] if snapshot else folder.name).lower())
    slug = slug.lstrip("._-")[:63].rstrip("-")
    if not NAME.fullmatch(slug):
        raise InvalidField("name", f"{location!r} gives no usable name: give the model one")
    return slug
