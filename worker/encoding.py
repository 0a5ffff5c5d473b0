"""Vectors of many contents, prepared beside the device; one that has none spoils no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

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
Hold = Callable[[Connection], None]

IMAGE_COST = 16
"""An image takes the time of about so many texts."""


@dataclass(frozen=True, slots=True)
class Begun(Generic[K]):
    """Contents by their keys that the device has, or will have once it has time.

    Their decoded images are gone by then, so that many may wait.
    """

    keys: tuple[K, ...]
    role: Role
    bulk: bool
    rows: Future[NDArray[np.float32]]  # (N, D)


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
        self, contents: Mapping[K, LoadedContent], role: Role, hold: Hold, *, bulk: bool
    ) -> tuple[Vectors[K], Errors[K]]:
        """Unit vectors and errors by key; `hold` keeps the lease while the batch waits in line."""
        return self.end(self.begin(contents, role, bulk=bulk), hold, contents.__getitem__)

    def begin(self, contents: Mapping[K, LoadedContent], role: Role, *, bulk: bool) -> Begun[K]:
        """Prepare contents here and hand them to the device."""
        rows: Future[NDArray[np.float32]] = Future()
        try:
            if contents:
                rows = self._submit(list(contents.values()), role, bulk=bulk)
        except (ContentError, ModelError) as exc:
            rows.set_exception(exc)
        return Begun(tuple(contents), role, bulk, rows)

    def _submit(
        self, contents: Sequence[LoadedContent], role: Role, *, bulk: bool
    ) -> Future[NDArray[np.float32]]:
        cost = sum(1 if one.image is None else IMAGE_COST for one in contents)
        run = self.encoder.prepare(contents, role)
        return self.runtime.device.submit(
            lambda: self.pace.timed(lambda: _traced(run, len(contents)), cost), bulk=bulk
        )

    def end(
        self, begun: Begun[K], hold: Hold, again: Callable[[K], LoadedContent | ContentError]
    ) -> tuple[Vectors[K], Errors[K]]:
        """Wait for what `begin` began; where a batch fails, each of its contents is tried alone.

        `again` loads one for that.
        """
        if not begun.keys:
            return {}, {}
        try:
            rows = self.runtime.result_of(begun.rows, hold).tolist()
            return dict(zip(begun.keys, rows, strict=True)), {}
        except (ContentError, ModelError) as exc:
            if len(begun.keys) == 1:
                return {}, {key: ContentError(exc.code, exc.detail) for key in begun.keys}
        vectors: Vectors[K] = {}
        errors: Errors[K] = {}
        for key in begun.keys:
            one = again(key)
            if isinstance(one, ContentError):
                errors[key] = one
                continue
            found, failed = self.each({key: one}, begun.role, hold, bulk=begun.bulk)
            vectors |= found
            errors |= failed
        return vectors, errors


def _traced(run: Callable[[], NDArray[np.float32]], contents: int) -> NDArray[np.float32]:
    with telemetry.span("repick.encode", contents=contents):
        return run()
