"""SHA-256 of model files, each read once: remembered by path, size and times of change."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HashCache:
    """A small JSON file of known hashes; losing it costs time only."""

    path: Path

    @classmethod
    def of_user(cls) -> HashCache:
        """In `$XDG_CACHE_HOME/repick`, or `~/.cache/repick`."""
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(base) / "repick" / "file-hashes.json")

    def sha256(self, path: Path) -> str:
        """The file's SHA-256 in hexadecimal; the file is read only when it is new or changed."""
        key = _state(path)
        known = self._load()
        if key not in known:
            digest = _file_sha256(path)
            # Others may have added theirs while we read a large file.
            known = {**self._load(), key: digest}
            self._save(known)
        return known[key]

    def _load(self) -> dict[str, str]:
        try:
            value = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        pairs = value.items() if isinstance(value, dict) else ()
        return {key: digest for key, digest in pairs if isinstance(digest, str)}

    def _save(self, known: dict[str, str]) -> None:
        # A read-only home must not keep a worker from serving: then it hashes at every start.
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self.path.parent, delete=False, encoding="utf-8"
            ) as file:
                json.dump(known, file, indent=1)
            os.replace(file.name, self.path)


def combined_sha256(files: Iterable[Path], root: Path, cache: HashCache) -> str:
    """One SHA-256 over the names (relative to `root`, sorted) and contents of `files`."""
    lines = sorted(f"{path.relative_to(root).as_posix()}\0{cache.sha256(path)}" for path in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _state(path: Path) -> str:
    """Where the file is and when it changed; ctime as well, since images of containers clamp
    every mtime to one date."""
    stat = path.stat()
    return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
