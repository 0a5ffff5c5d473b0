"""Drives jobs through the real store and the real tasks' code, one claimed slice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import uuid_utils
from celery import Celery
from sqlalchemy import text

from repick.content import Content
from repick.jobs import JobKind, JobState, Slice, Stage
from repick.media import MediaFolder
from repick.settings import Settings
from repick.specs import fingerprint
from repick.store import (
    contents,
    corpora,
    documents,
    embeddings,
    jobs,
    keys,
    rankings,
    registry,
    slices,
)
from repick.store import spaces as space_store
from repick.store.corpora import NewItem
from repick.store.database import Database
from repick.store.documents import Document
from repick.store.jobs import JobView, NewJob
from repick.store.rankings import Ranking
from repick.store.slices import Dispatch
from tests.fakes import ENCODER, FAKE_TOKENS, FakeEncoder, FakeFineModel
from worker.device import Device
from worker.embed import Embedder
from worker.encoding import IMAGE_COST, Encoding
from worker.pace import Pace
from worker.rank import rank_slice
from worker.retrieve import Retriever
from worker.runtime import Runtime
from worker.score import SliceScorer
from worker.tasks import embed_batch


@dataclass(frozen=True)
class SilentRuntime(Runtime):
    """A runtime whose messages are written down instead of published."""

    published: list[Dispatch] = field(default_factory=list)

    def dispatch(self, dispatch: Dispatch | None) -> None:
        if dispatch is not None:
            self.published.append(dispatch)


@dataclass(frozen=True)
class Pipeline:
    runtime: SilentRuntime
    encoder: FakeEncoder
    model: FakeFineModel
    tenant_id: int
    corpus_id: int
    space_id: int
    scorer_ids: Mapping[str, int]

    @property
    def database(self) -> Database:
        return self.runtime.database

    @property
    def retriever(self) -> Retriever:
        return Retriever(self.runtime, self.encoding, self.embedder)

    @property
    def encoding(self) -> Encoding:
        return Encoding(self.runtime, self.encoder, at_speed(32 * IMAGE_COST))  # type: ignore[arg-type]

    @property
    def embedder(self) -> Embedder:
        return Embedder(self.runtime, self.encoding)

    @property
    def scorer(self) -> SliceScorer:
        specs = {fingerprint(spec): spec for spec in self.model.specs}
        with self.database.begin() as connection:
            provenance = registry.put_provenance(connection, self.model.provenance)
        model: Any = self.model
        return SliceScorer(self.runtime, model, specs, provenance, at_speed(3 * FAKE_TOKENS))

    def put(self, texts: Mapping[str, str]) -> list[int]:
        """Put text items and embed them; gives the ids of the new or changed ones."""
        changed = self.put_unembedded(texts)
        while embed_batch(self.embedder, self.space_id):
            pass
        return changed

    def put_unembedded(self, texts: Mapping[str, str]) -> list[int]:
        with self.database.begin() as connection:
            stored = contents.put(connection, self.tenant_id, [Content(t) for t in texts.values()])
            items = [
                NewItem(name, stored[Content(text).sha256], {}) for name, text in texts.items()
            ]
            changed = corpora.put_items(connection, self.tenant_id, self.corpus_id, items)
            embeddings.enqueue(connection, self.tenant_id, self.space_id, changed)
        return changed

    def submit(
        self, queries: Sequence[str], instruction: str | None = None, **options: Any
    ) -> UUID:
        new = NewJob(
            id=UUID(str(uuid_utils.uuid7())),
            tenant_id=self.tenant_id,
            kind=JobKind.INTERACTIVE,
            corpus_id=self.corpus_id,
            corpus_name="shapes",
            space_id=self.space_id,
            encoder_id=self._encoder_id,
            encoder_queue=ENCODER.queue,
            scorer_id=next(iter(self.scorer_ids.values())),
            k=10,
            top_n=10,
            query_content_ids=(),
            metadata={},
            queries_per_slice=2,
        )
        asked = [Content(text, instruction=instruction) for text in queries]
        with self.database.begin() as connection:
            stored = contents.put(connection, self.tenant_id, asked)
            ids = [stored[one.sha256] for one in asked]
            jobs.submit(connection, replace(new, query_content_ids=ids, **options))
        return new.id

    def submit_documents(
        self, queries: Sequence[str], texts: Mapping[str, str | None], **options: Any
    ) -> UUID:
        """A job over documents sent along; those without a text could not be decoded."""
        asked = [Content(text) for text in queries]
        sent = [Content(text) for text in texts.values() if text is not None]
        new = NewJob(
            id=UUID(str(uuid_utils.uuid7())),
            tenant_id=self.tenant_id,
            kind=JobKind.INTERACTIVE,
            corpus_id=None,
            corpus_name=None,
            space_id=None,
            encoder_id=None,
            encoder_queue=None,
            scorer_id=next(iter(self.scorer_ids.values())),
            k=len(texts),
            top_n=len(texts),
            query_content_ids=(),
            metadata={},
            queries_per_slice=2,
        )
        with self.database.begin() as connection:
            stored = contents.put(connection, self.tenant_id, [*asked, *sent])
            rows = [
                Document(name, None, None, "decode_error")
                if text is None
                else Document(name, stored[Content(text).sha256], 1 / no)
                for no, (name, text) in enumerate(texts.items(), start=1)
            ]
            ids = [stored[one.sha256] for one in asked]
            new = replace(new, query_content_ids=ids, **options)
            size = self.runtime.settings.slice_pairs
            self.runtime.dispatch(documents.submit(connection, new, rows, size))
        return new.id

    @property
    def _encoder_id(self) -> int:
        with self.database.begin() as connection:
            space = space_store.by_id(connection, self.space_id)
        assert space is not None
        return space.encoder_id

    def claim(self, job: UUID, stage: Stage, models: Sequence[int] | None = None) -> Slice | None:
        """What was tried before first; nothing else is held meanwhile, or no matter."""
        key = job, stage, "test", self.runtime.lease, models
        with self.database.begin() as connection:
            held = slices.claim(connection, *key, tried=True)
            return held or slices.claim(connection, *key)

    def run(self, job: UUID, *stages: Stage) -> JobView:
        """Claim and run slices of the stages (all of them unless given) until none is left."""
        do = {
            Stage.RETRIEVE: self.retriever.run,
            Stage.SCORE: self.scorer.run,
            Stage.RANK: lambda held: rank_slice(self.runtime, held),
        }
        for stage in stages or tuple(Stage):
            while held := self.claim(job, stage):
                with self.runtime.holding(held):
                    do[stage](held)
        return self.view(job)

    def view(self, job: UUID) -> JobView:
        with self.database.begin() as connection:
            view = jobs.view(connection, self.tenant_id, job)
        assert view is not None
        return view

    def rankings(self, job: UUID) -> list[Ranking]:
        with self.database.begin() as connection:
            return rankings.read(connection, self.tenant_id, job)

    def expect(self, job: UUID, state: JobState) -> JobView:
        view = self.view(job)
        assert view.state is state, view
        return view


def at_speed(size: int) -> Pace:
    """A pace that has learned that the device is fast."""
    pace = Pace(size)
    pace.learn(size, 0.001)
    return pace


@contextmanager
def open_pipeline(database: Database, folder: Path) -> Iterator[Pipeline]:
    settings = Settings(data_dir=folder, slice_pairs=8, batch_pairs=3)
    encoder, model = FakeEncoder(), FakeFineModel()
    with database.begin() as connection:
        tenant_id = keys.ensure_tenant(connection, "default")
        encoder_id = registry.register_encoder(connection, encoder.spec)
        scorers = {spec.name: registry.register_scorer(connection, spec) for spec in model.specs}
        corpus_id = corpora.create(connection, tenant_id, "shapes")
        assert corpus_id is not None
        dimension = encoder.spec.dimension
        space_id = space_store.create(connection, tenant_id, corpus_id, encoder_id, dimension)
    with Device(deadline_s=20) as device:
        media = MediaFolder(folder / "media")
        runtime = SilentRuntime(settings, database, media, Celery(), device, "test")
        yield Pipeline(runtime, encoder, model, tenant_id, corpus_id, space_id, scorers)


def expire(pipeline: Pipeline) -> None:
    """Let all leases run out, as if the workers had died long ago."""
    with pipeline.database.begin() as connection:
        connection.execute(
            text(
                "UPDATE slice SET lease_until = now() - interval '1 s',"
                " publish_at = now() - interval '1 s' WHERE state = 'claimed'"
            )
        )
