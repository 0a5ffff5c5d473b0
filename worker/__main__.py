"""A worker process: `python -m worker coarse` or `python -m worker fine`.

Loads its model once, registers what it serves, and consumes its queues: threads that claim and
prepare, one device thread that computes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import structlog
from celery import Celery
from celery.exceptions import SecurityWarning
from transformers.utils import logging as transformers_logging

from repick.errors import ModelError, SelfTestFailed
from repick.jobs import bulk_queue
from repick.logs import configure
from repick.media import MediaFolder
from repick.queue import make_app
from repick.settings import Settings
from repick.specs import ImageLimits, LengthPolicy, Readout, ScorerSpec, fingerprint
from repick.store import registry
from repick.store.database import Database
from repick.store.stages import RANK_QUEUE
from worker.checkpoints import open_checkpoint
from worker.coarse import Encoder
from worker.device import Device
from worker.embed import Embedder
from worker.encoding import IMAGE_COST, Encoding
from worker.fine.scorer import FineModel
from worker.heartbeat import heartbeat
from worker.pace import Pace
from worker.retrieve import Retriever
from worker.runtime import Runtime, owner_name
from worker.score import SliceScorer
from worker.tasks import coarse_tasks, fine_tasks

log = structlog.get_logger(__name__)

FIRST_TOKENS = 1024
"""The first batch of a worker, before it knows its device."""


def main(argv: list[str]) -> int:
    roles = {"coarse": coarse, "fine": fine}
    if len(argv) != 1 or argv[0] not in roles:
        print("usage: python -m worker coarse|fine", file=sys.stderr)  # noqa: T201
        return 2
    configure(argv[0])
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return roles[argv[0]](Settings())
    except ModelError as exc:
        log.critical("refusing to serve", code=exc.code, reason=exc.detail, **exc.ids)
        return 3


def coarse(settings: Settings) -> int:
    checkpoint = open_checkpoint(settings.encoder, settings.encoder_name)
    encoder = Encoder.load(checkpoint, device=settings.device, dtype=settings.dtype)
    queue = encoder.spec.queue
    app = make_app(settings.broker_url, [RANK_QUEUE, queue, bulk_queue(queue)])
    database = Database(settings.database_url)
    with database.begin() as connection:
        ids = [registry.register_encoder(connection, encoder.spec)]
    served = partial(registry.encoders_served, ids=ids)
    with Device(settings.batch_deadline_s) as device, heartbeat(database, served):
        runtime = _runtime(settings, database, app, device, "coarse")
        pace = Pace(settings.embed_batch * IMAGE_COST, first=IMAGE_COST)
        encoding = Encoding(runtime, encoder, pace)
        coarse_tasks(app, Retriever(runtime, encoding, Embedder(runtime, encoding)), ids)
        log.info("serving", encoder=encoder.spec.name, fingerprint=fingerprint(encoder.spec)[:12])
        return _consume(app, "coarse", settings.worker_threads)


def fine(settings: Settings) -> int:
    checkpoint = open_checkpoint(settings.scorer, settings.scorer_name)
    model = FineModel.load(
        checkpoint,
        readouts=[Readout(name) for name in settings.readouts.split(",")],
        device=settings.device,
        dtype=settings.dtype,
        images=ImageLimits(settings.min_pixels, settings.max_pixels),
    )
    specs = {fingerprint(spec): spec for spec in with_truncation(_passing(model))}
    queue = next(iter(specs.values())).queue
    app = make_app(settings.broker_url, [queue, bulk_queue(queue)])
    database = Database(settings.database_url)
    with database.begin() as connection:
        ids = [registry.register_scorer(connection, spec) for spec in specs.values()]
        provenance_id = registry.put_provenance(connection, model.provenance)
    served = partial(registry.scorers_served, ids=ids)
    with Device(settings.batch_deadline_s) as device, heartbeat(database, served):
        runtime = _runtime(settings, database, app, device, "fine")
        pace = Pace(settings.batch_tokens, first=FIRST_TOKENS)
        fine_tasks(app, SliceScorer(runtime, model, specs, provenance_id, pace), ids)
        log.info("serving", model=checkpoint.name, scorers=len(specs))
        return _consume(app, "fine", settings.worker_threads)


def _passing(model: FineModel) -> list[ScorerSpec]:
    """The specifications that tell golden pairs apart; raises the last failure when none does."""
    passed, failure = [], SelfTestFailed("the model serves no readout")
    for spec in model.specs:
        try:
            model.self_test(spec)
            passed.append(spec)
        except SelfTestFailed as exc:
            log.error("not served", scorer=spec.name, reason=exc.detail)
            failure = exc
    if not passed:
        raise failure
    return passed


def with_truncation(specs: Sequence[ScorerSpec]) -> list[ScorerSpec]:
    """Each specification, and after them those that cut a document which does not fit."""
    return [*specs, *(replace(spec, length_policy=LengthPolicy.TRUNCATE) for spec in specs)]


def _runtime(
    settings: Settings, database: Database, app: Celery, device: Device, role: str
) -> Runtime:
    media = MediaFolder(settings.media_folder)
    return Runtime(settings, database, media, app, device, owner_name(role))


def _consume(app: Celery, role: str, threads: int) -> int:
    arguments = ["--quiet", "worker", "--pool=threads", f"--concurrency={threads}"]
    # Its warning about root is about pickled messages, which are refused.
    warnings.simplefilter("ignore", SecurityWarning)
    options = ["--loglevel=WARNING", f"--hostname={owner_name(role)}", "--without-mingle"]
    app.worker_main([*arguments, *options])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
