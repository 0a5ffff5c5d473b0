"""The media store away: work waits and goes on; nothing fails for it, however long it takes."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import text

from repick.content import Content, Media
from repick.jobs import JobState, Stage
from repick.store import contents, corpora, embeddings, unembedded
from repick.store.corpora import NewItem
from tests.integration.pipeline import Pipeline
from worker.tasks import embed_batch


def png(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (40, 40), (shade, 0, 0)).save(data, "PNG")
    return data.getvalue()


def put_image(pipeline: Pipeline, name: str, shade: int) -> None:
    data = png(shade)
    sha256 = hashlib.sha256(data).digest()
    pipeline.runtime.media.put(pipeline.tenant_id, sha256, data)
    one = Content(None, Media(sha256, "image/png", 40, 40, len(data)))
    with pipeline.database.begin() as connection:
        ids = contents.put(connection, pipeline.tenant_id, [one])
        item = NewItem(name, ids[one.sha256], {})
        changed = corpora.put_items(connection, pipeline.tenant_id, pipeline.corpus_id, [item])
        embeddings.enqueue(connection, pipeline.tenant_id, pipeline.space_id, changed)


def embed(pipeline: Pipeline) -> None:
    while embed_batch(pipeline.embedder, pipeline.space_id):
        pass


def unmounted(pipeline: Pipeline) -> None:
    folder = pipeline.runtime.settings.media_folder
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()
    pipeline.runtime.images.clear()  # what was decoded before the outage would still be at hand


def mounted_again(pipeline: Pipeline) -> None:
    folder = pipeline.runtime.settings.media_folder
    folder.rmdir()
    folder.with_name("elsewhere").rename(folder)


def test_job_waits_for_the_media_store_and_then_succeeds(pipeline: Pipeline) -> None:
    put_image(pipeline, "red", 200)
    embed(pipeline)
    job = pipeline.submit(["a query"], k=1, top_n=1)
    pipeline.run(job, Stage.RETRIEVE)
    unmounted(pipeline)
    for _ in range(5):
        held = pipeline.claim(job, Stage.SCORE)
        assert held is not None
        assert held.attempts == 1
        with pipeline.runtime.holding(held):
            pipeline.scorer.run(held)
        pipeline.expect(job, JobState.SCORING)
    mounted_again(pipeline)
    view = pipeline.run(job)
    assert (view.state, view.pairs_failed) == (JobState.SUCCEEDED, 0)
    assert [hit.external_id for hit in pipeline.rankings(job)[0].hits] == ["red"]


def test_items_wait_for_the_media_store_and_then_get_their_vectors(pipeline: Pipeline) -> None:
    put_image(pipeline, "red", 200)
    unmounted(pipeline)
    for _ in range(5):
        batch = pipeline.embedder.claim(pipeline.space_id)
        assert batch is not None
        with pytest.raises(Exception, match="media folder is empty"):
            pipeline.embedder.run(batch)
    mounted_again(pipeline)
    embed(pipeline)
    assert _count(pipeline, "embedding") == 1


def test_item_whose_image_was_missing_is_tried_again_later(pipeline: Pipeline) -> None:
    put_image(pipeline, "red", 200)
    put_image(pipeline, "green", 100)
    folder = pipeline.runtime.settings.media_folder
    (missing,) = folder.rglob(hashlib.sha256(png(200)).hexdigest())
    missing.rename(folder / "aside")
    embed(pipeline)
    with pipeline.database.begin() as connection:
        failed = unembedded.failures(connection, pipeline.tenant_id, pipeline.space_id, 9)
        assert failed == [("red", "media_missing")]
        assert embeddings.retry(connection) == 0
    (folder / "aside").rename(missing)
    with pipeline.database.begin() as connection:
        connection.execute(
            text("UPDATE pending_embedding SET retry_at = retry_at - :later"),
            {"later": embeddings.RETRY_AFTER + timedelta(seconds=1)},
        )
        assert embeddings.retry(connection) == 1
    embed(pipeline)
    assert _count(pipeline, "embedding") == 2


def _count(pipeline: Pipeline, table: str) -> int:
    with pipeline.database.begin() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
