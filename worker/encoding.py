"""Vectors of many contents on the device thread; one that has none spoils no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from repick import telemetry
from repick.content import LoadedContent
from repick.errors import ContentError, ModelError
from worker.coarse import Encoder, Role
from worker.device import Device

K = TypeVar("K")


def encode_each(
    device: Device, encoder: Encoder, contents: Mapping[K, LoadedContent], role: Role, *, bulk: bool
) -> tuple[dict[K, list[float]], dict[K, ContentError]]:
    """Unit vectors and errors by key. Where a batch fails, each of its contents is tried alone."""
    if not contents:
        return {}, {}
    ordered = list(contents.values())
    work = device.submit(lambda: _encode(encoder, ordered, role), bulk=bulk)
    try:
        return dict(zip(contents, work.result().tolist(), strict=True)), {}
    except (ContentError, ModelError) as exc:
        if len(contents) == 1:
            return {}, {key: ContentError(exc.code, exc.detail) for key in contents}
    vectors: dict[K, list[float]] = {}
    errors: dict[K, ContentError] = {}
    for key, one in contents.items():
        vector, error = encode_each(device, encoder, {key: one}, role, bulk=bulk)
        vectors |= vector
        errors |= error
    return vectors, errors


def _encode(encoder: Encoder, contents: Sequence[LoadedContent], role: Role) -> Any:
    """As float32 (N, D), under a span."""
    with telemetry.span("repick.encode", contents=len(contents)):
        return encoder.encode(contents, role)
