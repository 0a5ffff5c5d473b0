"""Image bytes in an object store, several on the way at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from repick.errors import ContentError, Unavailable
from repick.media.store import got, key_of, missing, older, verified, verify_input

if TYPE_CHECKING:
    from obstore.store import ObjectStore

OBJECTS_AT_ONCE = 8
"""Each takes tens of milliseconds, nearly all of them on the way."""


class MediaObjects:
    """An object store through `obstore` (the extra `objectstore`): S3, GCS, Azure, memory."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, tenant_id: int, sha256: bytes, data: bytes) -> None:
        from obstore.exceptions import BaseError

        key = key_of(tenant_id, sha256)
        verify_input(sha256, data)
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
            data = bytes(self._store.get(key_of(tenant_id, sha256)).bytes())
        except FileNotFoundError as exc:
            raise missing(sha256) from exc
        except (BaseError, OSError) as exc:
            raise Unavailable("the object store cannot be read", sha256=sha256.hex()) from exc
        return verified(sha256, data)

    def get_many(
        self, tenant_id: int, hashes: Sequence[bytes]
    ) -> Iterator[tuple[bytes, bytes | ContentError]]:
        """So many at once, and no more are in memory than whoever reads has taken."""
        with ThreadPoolExecutor(OBJECTS_AT_ONCE, "media") as pool:
            for first in range(0, len(hashes), OBJECTS_AT_ONCE):
                some = hashes[first : first + OBJECTS_AT_ONCE]
                yield from zip(some, pool.map(partial(got, self, tenant_id), some), strict=True)

    def exists(self, tenant_id: int, sha256: bytes) -> bool:
        from obstore.exceptions import BaseError

        try:
            self._store.head(key_of(tenant_id, sha256))
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as exc:
            raise Unavailable("the object store cannot be read", sha256=sha256.hex()) from exc
        return True

    def remove(self, tenant_id: int, sha256: bytes, unless_put_within: timedelta) -> bool:
        """Between the look and the removal, some ms, a put would be lost: stores have no lock."""
        from obstore.exceptions import BaseError

        key = key_of(tenant_id, sha256)
        try:
            put_at = self._store.head(key)["last_modified"].timestamp()
            if not older(put_at, unless_put_within):
                return False
            self._store.delete(key)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as exc:
            raise Unavailable("the object store cannot be written", sha256=sha256.hex()) from exc
        return True
