"""What every store of image bytes promises, and what they share: keys, and checks of the bytes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from repick.errors import ContentError


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


def got(store: MediaStore, tenant_id: int, sha256: bytes) -> bytes | ContentError:
    try:
        return store.get(tenant_id, sha256)
    except ContentError as exc:
        return exc


def older(timestamp: float, age: timedelta) -> bool:
    return time.time() - timestamp >= age.total_seconds()


def key_of(tenant_id: int, sha256: bytes) -> str:
    if tenant_id < 0 or len(sha256) != hashlib.sha256().digest_size:
        raise ValueError("not a tenant's id and a SHA-256")
    name = sha256.hex()
    return f"{tenant_id:d}/{name[:2]}/{name}"


def verify_input(sha256: bytes, data: bytes) -> None:
    if hashlib.sha256(data).digest() != sha256:
        raise ValueError("the hash is not that of the data")


def verified(sha256: bytes, data: bytes) -> bytes:
    if hashlib.sha256(data).digest() != sha256:
        detail = "the stored image is not what was received"
        raise ContentError("media_corrupt", detail, sha256=sha256.hex())
    return data


def missing(sha256: bytes) -> ContentError:
    detail = "the stored image is not there"
    return ContentError("media_missing", detail, retryable=True, sha256=sha256.hex())
