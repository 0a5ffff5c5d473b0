"""Vectors of many contents, prepared beside the device; one that has none spoils no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from repick import telemetry
from repick.content import LoadedContent
from repick.errors import ContentError, ModelError
from repick.store.database import Connection
from worker.coarse import Encoder, Role
from worker.pace import Pace
from worker.runtime import Runtime

K = TypeVar("K")
Vectors = dict[K, list[float]]
Errors = dict[K, ContentError]

IMAGE_COST = 16
"""An image takes the time of about so many texts."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoder on the device; `size` is how many contents it should get at once."""

    runtime: Runtime
    encoder: Encoder
    pace: Pace

    @property
    def size(self) -> int:
        """As many as fit the pace if all of them were images."""
        return max(1, self.pace.size // IMAGE_COST)

    def each(
        self,
        contents: Mapping[K, LoadedContent],
        role: Role,
        hold: Callable[[Connection], None],
        *,
        bulk: bool,
    ) -> tuple[Vectors[K], Errors[K]]:
        """Unit vectors and errors by key; `hold` keeps the lease while the batch waits in line.

        Where a batch fails, each of its contents is tried alone.
        """
        if not contents:
            return {}, {}
        ordered = list(contents.values())
        cost = sum(1 if one.image is None else IMAGE_COST for one in ordered)
        try:
            run = self.encoder.prepare(ordered, role)
            work = self.runtime.device.submit(
                lambda: self.pace.timed(lambda: _traced(run, len(ordered)), cost), bulk=bulk
            )
            rows = self.runtime.result_of(work, hold).tolist()
            return dict(zip(contents, rows, strict=True)), {}
        except (ContentError, ModelError) as exc:
            if len(contents) == 1:
                return {}, {key: ContentError(exc.code, exc.detail) for key in contents}
        vectors: Vectors[K] = {}
        errors: Errors[K] = {}
        for key, one in contents.items():
            found, failed = self.each({key: one}, role, hold, bulk=bulk)
            vectors |= found
            errors |= failed
        return vectors, errors


def _traced(run: Callable[[], NDArray[np.float32]], contents: int) -> NDArray[np.float32]:
    with telemetry.span("repick.encode", contents=contents):
        return run()
