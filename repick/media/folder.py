"""Image bytes in a folder: of one machine, or on a volume that all machines share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from io import BufferedWriter
from pathlib import Path
from uuid import uuid4

from repick.errors import ContentError, Unavailable
from repick.media.store import got, key_of, missing, older, verified, verify_input

OPEN_FILES = 32
"""Written together; a process may have a thousand open, in all its threads."""


class MediaFolder:
    """A folder on one machine, or a volume that all machines share."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, tenant_id: int, sha256: bytes, data: bytes) -> None:
        self.put_many(tenant_id, {sha256: data})

    def put_many(self, tenant_id: int, images: Mapping[bytes, bytes]) -> None:
        new: list[tuple[str, bytes]] = []
        for sha256, data in images.items():
            path = f"{self._root}/{key_of(tenant_id, sha256)}"
            verify_input(sha256, data)
            with _writing(sha256):
                if not _holds(path, data):
                    new.append((path, data))
        changed: set[str] = set()
        with _writing():
            for first in range(0, len(new), OPEN_FILES):
                changed |= self._write(new[first : first + OPEN_FILES])
            for folder in sorted(changed):  # each once, whatever the number of files in it
                _sync_folder(folder)

    def get(self, tenant_id: int, sha256: bytes) -> bytes:
        path = self._root / key_of(tenant_id, sha256)
        try:
            data = _read(path)
        except FileNotFoundError as exc:
            if not any(self._root.glob("[0-9]*")):
                # Rows name bytes that were stored: this is another folder, or a volume not mounted.
                detail = "the media folder is empty"
                raise Unavailable(detail, sha256=sha256.hex()) from exc
            raise missing(sha256) from exc
        except OSError as exc:
            raise Unavailable("the media folder cannot be read", sha256=sha256.hex()) from exc
        return verified(sha256, data)

    def get_many(
        self, tenant_id: int, hashes: Sequence[bytes]
    ) -> Iterator[tuple[bytes, bytes | ContentError]]:
        for sha256 in hashes:
            yield sha256, got(self, tenant_id, sha256)

    def exists(self, tenant_id: int, sha256: bytes) -> bool:
        return (self._root / key_of(tenant_id, sha256)).is_file()

    def remove(self, tenant_id: int, sha256: bytes, unless_put_within: timedelta) -> bool:
        path = self._root / key_of(tenant_id, sha256)
        aside = self._root / ".incoming" / uuid4().hex
        try:
            if not older(path.stat().st_mtime, unless_put_within):
                return False
            # Out of the way first: who puts it from now on writes it anew, and who was about to
            # say that it is there has renewed its time, which is looked at again.
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside)
            if not older(aside.stat().st_mtime, unless_put_within):
                aside.replace(path)
                return False
            aside.unlink()
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise Unavailable("the media folder cannot be written", sha256=sha256.hex()) from exc
        return True

    def _write(self, files: Sequence[tuple[str, bytes]]) -> set[str]:
        """Write beside and rename, so that a reader sees all of a file or nothing.

        All are written before the first is synced: that brings most of the others along. Gives the
        folders whose entries may be new, which are not durable until they are synced.
        """
        incoming, changed = f"{self._root}/.incoming", {str(self._root)}
        os.makedirs(incoming, exist_ok=True)
        with ExitStack() as stack:
            written = [
                (stack.enter_context(_written(incoming, data)), path) for path, data in files
            ]
            for file, _ in written:
                os.fsync(file.fileno())
            for file, path in written:
                leaf, tenant = path.rsplit("/", 1)[0], path.rsplit("/", 2)[0]
                os.makedirs(leaf, exist_ok=True)
                os.replace(file.name, path)
                changed |= {leaf, tenant}
        return changed


def _read(path: Path) -> bytes:
    """The file's bytes, also where `remove` has it aside for a moment to look at its time."""
    for wait in (0.002, 0.02, 0.1):
        with suppress(FileNotFoundError):
            return path.read_bytes()
        time.sleep(wait)
    return path.read_bytes()


def _holds(path: str, data: bytes) -> bool:
    """Whether it is there; says so to `remove` by renewing its time."""
    try:
        os.utime(path)
        with open(path, "rb") as file:
            return file.read() == data
    except FileNotFoundError:
        return False


@contextmanager
def _written(folder: str, data: bytes) -> Iterator[BufferedWriter]:
    """A new file with the data; gone at the end, unless it was renamed."""
    # Buffered, which writes on after a write that took a part: that is how a disk fills.
    with open(f"{folder}/{uuid4().hex}", "xb") as file:
        try:
            file.write(data)
            file.flush()
            yield file
        finally:
            with suppress(FileNotFoundError):
                os.unlink(file.name)


@contextmanager
def _writing(sha256: bytes = b"") -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        ids = {"sha256": sha256.hex()} if sha256 else {}
        raise Unavailable("the media folder cannot be written", **ids) from exc


def _sync_folder(folder: str) -> None:
    """Make a rename or a new folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
