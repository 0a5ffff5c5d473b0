"""Where a job's candidates come from: a corpus's current space, or documents sent along."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from repick.store import corpora, registry, spaces


@dataclass(frozen=True, slots=True)
class Source:
    """What the coarse stage searches; nothing of it where documents are sent along."""

    corpus_id: int | None = None
    corpus_name: str | None = None
    space_id: int | None = None
    encoder_id: int | None = None
    encoder_queue: str | None = None


def corpus(connection: Connection, tenant_id: int, name: str) -> Source | None:
    """A corpus, which nobody can delete until the transaction ends; None where there is none."""
    held = corpora.held(connection, tenant_id, name)
    if held is None:
        return None
    space = spaces.of_corpus(connection, tenant_id, held.id)[0]
    queue = registry.encoder_of(connection, space.encoder_id).queue
    return Source(held.id, held.name, space.id, space.encoder_id, queue)
