"""Vectors of many contents on the device thread; one that has none spoils no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from repick.content import LoadedContent
from repick.errors import ContentError, ModelError
from worker.coarse import Encoder, Role
from worker.device import Device
from worker.pace import Pace

K = TypeVar("K")
Vectors = dict[K, list[float]]
Errors = dict[K, ContentError]


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoder on a device; `pace.size` is how many contents it should get at once."""

    device: Device
    encoder: Encoder
    pace: Pace

    def each(
        self, contents: Mapping[K, LoadedContent], role: Role, *, bulk: bool
    ) -> tuple[Vectors[K], Errors[K]]:
        """Unit vectors and errors by key. Where a batch fails, each content is tried alone."""
        if not contents:
            return {}, {}
        ordered = list(contents.values())
        work = self.device.submit(
            lambda: self.pace.timed(lambda batch: self.encoder.encode(batch, role), ordered),
            bulk=bulk,
        )
        try:
            return dict(zip(contents, work.result().tolist(), strict=True)), {}
        except (ContentError, ModelError) as exc:
            if len(contents) == 1:
                return {}, {key: ContentError(exc.code, exc.detail) for key in contents}
        vectors: Vectors[K] = {}
        errors: Errors[K] = {}
        for key, one in contents.items():
            found, failed = self.each({key: one}, role, bulk=bulk)
            vectors |= found
            errors |= failed
        return vectors, errors
