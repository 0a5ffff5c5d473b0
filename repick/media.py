"""Original image bytes by hash: a folder, or an object store.

A path is `<tenant>/<first two digits>/<sha256>`, in both: nothing is shared across tenants, and a
prefix is a tenant's whole store.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import partial
from io import BufferedWriter
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from repick.errors import ContentError, Unavailable
from repick.settings import Settings

if TYPE_CHECKING:
    from obstore.store import ObjectStore


OPEN_FILES = 32
"""Written together; a process may have a thousand open, in all its threads."""


OBJECTS_AT_ONCE = 8
"""Each takes tens of milliseconds, nearly all of them on the way."""


class MediaStore(Protocol):
    """Insert-only bytes, known by tenant and SHA-256; any thread or process may use it."""

    def put(self, tenant_id: int, sha256: bytes, data: bytes) -> None:
        """Durable when it returns; repeating it does no harm, and mends a damaged copy.

        Raises ValueError where `sha256` is not that of `data`, Unavailable where the store is.
        """

    def put_many(self, tenant_id: int, images: Mapping[bytes, bytes]) -> None:
        """`put` of each, by SHA-256: all are durable when it returns, and that costs less."""

    def get(self, tenant_id: int, sha256: bytes) -> bytes:
        """The bytes, verified.

        Raises ContentError `media_missing` (retryable: another machine's copy may be on its way)
        or `media_corrupt`, Unavailable where the store does not answer or is an empty folder.
        """

    def get_many(
        self, tenant_id: int, hashes: Sequence[bytes]
    ) -> Iterator[tuple[bytes, bytes | ContentError]]:
        """`get` of each, in order, with its hash; in the place of what cannot be read, its error.

        Raises Unavailable.
        """

    def exists(self, tenant_id: int, sha256: bytes) -> bool:
        """Whether there is something under this hash; only `get` verifies it."""

    def remove(self, tenant_id: int, sha256: bytes, unless_put_within: timedelta) -> bool:
        """Remove the bytes, but not those that somebody has put, or put again, so lately.

        False where there was nothing to remove. Raises Unavailable where the store is.
        """


class MediaFolder:
    """A folder on one machine, or a volume that all machines share."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, tenant_id: int, sha256: bytes, data: bytes) -> None:
        self.put_many(tenant_id, {sha256: data})

    def put_many(self, tenant_id: int, images: Mapping[bytes, bytes]) -> None:
        new: list[tuple[str, bytes]] = []
        for sha256, data in images.items():
            path = f"{self._root}/{_key(tenant_id, sha256)}"
            _verify_input(sha256, data)
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
        path = self._root / _key(tenant_id, sha256)
        try:
            data = _read(path)
        except FileNotFoundError as exc:
            if not any(self._root.glob("[0-9]*")):
                # Rows name bytes that were stored: this is another folder, or a volume not mounted.
                detail = "the media folder is empty"
                raise Unavailable(detail, sha256=sha256.hex()) from exc
            raise _missing(sha256) from exc
        except OSError as exc:
            raise Unavailable("the media folder cannot be read", sha256=sha256.hex()) from exc
        return _verified(sha256, data)

    def get_many(
        self, tenant_id: int, hashes: Sequence[bytes]
    ) -> Iterator[tuple[bytes, bytes | ContentError]]:
        for sha256 in hashes:
            yield sha256, _got(self, tenant_id, sha256)

    def exists(self, tenant_id: int, sha256: bytes) -> bool:
        return (self._root / _key(tenant_id, sha256)).is_file()

    def remove(self, tenant_id: int, sha256: bytes, unless_put_within: timedelta) -> bool:
        path = self._root / _key(tenant_id, sha256)
        aside = self._root / ".incoming" / uuid4().hex
        try:
            if not _older(path.stat().st_mtime, unless_put_within):
                return False
            # Out of the way first: who puts it from now on writes it anew, and who was about to
            # say that it is there has renewed its time, which is looked at again.
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside)
            if not _older(aside.stat().st_mtime, unless_put_within):
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


def media_store(settings: Settings) -> MediaStore:
    """The store that the settings name: `media_url`'s objects, or else the folder.

    Raises Unavailable where the address cannot be used or `obstore` is not installed.
    """
    if not settings.media_url:
        return MediaFolder(settings.media_folder)
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as exc:
        detail = "REPICK_MEDIA_URL needs the extra `objectstore`"
        raise Unavailable(detail, code="no_object_store") from exc
    try:
        return MediaObjects(from_url(settings.media_url))
    except (BaseError, ValueError) as exc:
        # The reason names settings, not their values; the address may hold a secret.
        detail = "REPICK_MEDIA_URL does not name an object store that can be used"
        raise Unavailable(detail, code="bad_media_url", reason=type(exc).__name__) from exc


class MediaObjects:
    """An object store through `obstore` (the extra `objectstore`): S3, GCS, Azure, memory."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, tenant_id: int, sha256: bytes, data: bytes) -> None:
        from obstore.exceptions import BaseError

        key = _key(tenant_id, sha256)
        _verify_input(sha256, data)
        try:
            self._store.put(key, data)
        except (BaseError, OSError) as exc:
            raise Unavailable("the object store cannot be written", sha256=sha256.hex()) from exc

    def put_many(self, tenant_id: int, images: Mapping[bytes, bytes]) -> None:
        with ThreadPoolExecutor(OBJECTS_AT_ONCE, "media") as pool:
            puts = [pool.submit(self.put, tenant_id, *image) for image in images.items()]
        for done in puts:
            done.result()

    def get(self, tenant_id: int, sha256: bytes) -> bytes:
        from obstore.exceptions import BaseError

        try:
            data = bytes(self._store.get(_key(tenant_id, sha256)).bytes())
        except FileNotFoundError as exc:
            raise _missing(sha256) from exc
        except (BaseError, OSError) as exc:
            raise Unavailable("the object store cannot be read", sha256=sha256.hex()) from exc
        return _verified(sha256, data)

    def get_many(
        self, tenant_id: int, hashes: Sequence[bytes]
    ) -> Iterator[tuple[bytes, bytes | ContentError]]:
        """So many at once, and no more are in memory than whoever reads has taken."""
        with ThreadPoolExecutor(OBJECTS_AT_ONCE, "media") as pool:
            for first in range(0, len(hashes), OBJECTS_AT_ONCE):
                some = hashes[first : first + OBJECTS_AT_ONCE]
                yield from zip(some, pool.map(partial(_got, self, tenant_id), some), strict=True)

    def exists(self, tenant_id: int, sha256: bytes) -> bool:
        from obstore.exceptions import BaseError

        try:
            self._store.head(_key(tenant_id, sha256))
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as exc:
            raise Unavailable("the object store cannot be read", sha256=sha256.hex()) from exc
        return True

    def remove(self, tenant_id: int, sha256: bytes, unless_put_within: timedelta) -> bool:
        """Between the look and the removal, some ms, a put would be lost: stores have no lock."""
        from obstore.exceptions import BaseError

        key = _key(tenant_id, sha256)
        try:
            put_at = self._store.head(key)["last_modified"].timestamp()
            if not _older(put_at, unless_put_within):
                return False
            self._store.delete(key)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as exc:
            raise Unavailable("the object store cannot be written", sha256=sha256.hex()) from exc
        return True


def _got(store: MediaStore, tenant_id: int, sha256: bytes) -> bytes | ContentError:
    try:
        return store.get(tenant_id, sha256)
    except ContentError as exc:
        return exc


def _older(timestamp: float, age: timedelta) -> bool:
    return time.time() - timestamp >= age.total_seconds()


def _key(tenant_id: int, sha256: bytes) -> str:
    if tenant_id < 0 or len(sha256) != hashlib.sha256().digest_size:
        raise ValueError("not a tenant's id and a SHA-256")
    name = sha256.hex()
    return f"{tenant_id:d}/{name[:2]}/{name}"


def _verify_input(sha256: bytes, data: bytes) -> None:
    if hashlib.sha256(data).digest() != sha256:
        raise ValueError("the hash is not that of the data")


def _verified(sha256: bytes, data: bytes) -> bytes:
    if hashlib.sha256(data).digest() != sha256:
        detail = "the stored image is not what was received"
        raise ContentError("media_corrupt", detail, sha256=sha256.hex())
    return data


def _missing(sha256: bytes) -> ContentError:
    detail = "the stored image is not there"
    return ContentError("media_missing", detail, retryable=True, sha256=sha256.hex())


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
