"""Batches on their way to the API, a few at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from repick.client import Client, Failure, PutResult
from repick.client.batches import batches
from repick.loading.journal import Journal
from repick.loading.sources import NOTHING, PassedOver, Source


@dataclass(slots=True)
class Loaded:
    """`skipped` items arrived in an earlier run; those of `failed` were not stored."""

    stored: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: list[Failure] = field(default_factory=list)
    passed_over: PassedOver = NOTHING

    @property
    def items(self) -> int:
        return self.stored + self.unchanged + self.skipped + len(self.failed)

    def add(self, result: PutResult) -> None:
        self.stored += result.stored
        self.unchanged += result.unchanged
        self.failed.extend(result.failed)


def load(
    client: Client,
    corpus: str,
    source: Source,
    journal: Journal,
    *,
    parallel: int = 4,
    on_progress: Callable[[Loaded], None] | None = None,
) -> Loaded:
    """Put every item of a source, `parallel` requests at a time, without those that have arrived.

    At most `parallel` batches are in memory beside the one that is being read. Raises ApiError,
    Unavailable, InvalidField or OSError, with what has arrived written down.
    """
    done, arrived = Loaded(passed_over=source.passed_over), journal.arrived()
    flying: dict[Future[PutResult], int] = {}

    def land(all_of_them: bool = False) -> None:
        while len(flying) >= (1 if all_of_them else parallel):
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                number = flying.pop(future)
                done.add(result := future.result())
                if not any(failure.retryable for failure in result.failed):
                    journal.add(number)
                _tell(on_progress, done)

    with ThreadPoolExecutor(parallel, thread_name_prefix="load") as pool:
        for number, batch in enumerate(batches(source.items())):
            if number in arrived:
                done.skipped += len(batch)
                _tell(on_progress, done)
                continue
            land()
            flying[pool.submit(_send, client, corpus, batch)] = number
        land(all_of_them=True)
    if not any(failure.retryable for failure in done.failed):
        journal.close()
    return done


def _send(client: Client, corpus: str, batch: list[dict[str, Any]]) -> PutResult:
    return client.put_batch(corpus, batch)


def _tell(on_progress: Callable[[Loaded], None] | None, done: Loaded) -> None:
    if on_progress:
        on_progress(done)
