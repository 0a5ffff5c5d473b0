"""A worker process: `python -m worker coarse` or `python -m worker fine`.

Loads its model once, registers what it serves, and consumes its queues: threads that claim and
prepare, one device thread that computes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import structlog
from transformers.utils import logging as transformers_logging

from repick.errors import RepickError, SelfTestFailed
from repick.jobs import bulk_queue
from repick.logs import configure
from repick.settings import Settings, service_settings
from repick.specs import ImageLimits, LengthPolicy, Readout, ScorerSpec, fingerprint
from repick.store import registry
from repick.store.stages import coarse_queues
from worker.checkpoints import open_checkpoint
from worker.coarse import Encoder
from worker.embed import Embedder
from worker.encoding import IMAGE_COST, Encoding
from worker.fine.limits import MemoryLimits
from worker.fine.placement import pick_device
from worker.fine.scorer import FineModel
from worker.pace import Pace
from worker.retrieve import Retriever
from worker.score import SliceScorer
from worker.serving import consume, opened
from worker.tasks import coarse_tasks, fine_tasks

log = structlog.get_logger(__name__)

FIRST_TOKENS = 1024
"""The first batch of a worker, before it knows its device."""


def main(argv: list[str]) -> int:
    roles, models = {"coarse": coarse, "fine": fine}, {"coarse": "encoder", "fine": "scorer"}
    if len(argv) != 1 or argv[0] not in roles:
        print("usage: python -m worker coarse|fine", file=sys.stderr)  # noqa: T201
        return 2
    configure(argv[0])
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return roles[argv[0]](service_settings(models[argv[0]], "database_url", "broker_url"))
    except RepickError as exc:
        log.critical("refusing to serve", code=exc.code, reason=exc.detail, **exc.ids)
        return 3


def coarse(settings: Settings) -> int:
    checkpoint = open_checkpoint(settings.encoder, settings.encoder_name)
    encoder = Encoder.load(checkpoint, device=settings.device, dtype=settings.dtype)
    queue = encoder.spec.queue
    with opened(settings, "coarse", coarse_queues(queue)) as runtime:
        with runtime.database.begin() as connection:
            ids = [registry.register_encoder(connection, encoder.spec)]
        pace = Pace(settings.embed_batch * IMAGE_COST, first=IMAGE_COST)
        encoding = Encoding(runtime, encoder, pace)
        coarse_tasks(runtime.app, Retriever(runtime, encoding, Embedder(runtime, encoding)), ids)
        short = fingerprint(encoder.spec)[:12]
        served = partial(registry.encoders_served, ids=ids)
        return consume(runtime, served, encoder=encoder.spec.name, fingerprint=short)


def fine(settings: Settings) -> int:
    checkpoint = open_checkpoint(settings.scorer, settings.scorer_name)
    model = FineModel.load(
        checkpoint,
        readouts=[Readout(name) for name in settings.readouts.split(",")],
        device=settings.device,
        dtype=settings.dtype,
        images=ImageLimits(settings.min_pixels, settings.max_pixels),
        enhancement=settings.enhancement,
        limits=MemoryLimits.chosen(settings, pick_device(settings.device)),
    )
    specs = {fingerprint(spec): spec for spec in with_truncation(_passing(model))}
    queue = next(iter(specs.values())).queue
    with opened(settings, "fine", [queue, bulk_queue(queue)]) as runtime:
        with runtime.database.begin() as connection:
            ids = [registry.register_scorer(connection, spec) for spec in specs.values()]
            provenance_id = registry.put_provenance(connection, model.provenance)
        pace = Pace(settings.batch_tokens, first=FIRST_TOKENS)
        runtime.figures.memory(model.memory)
        scorer = SliceScorer(
            runtime, model, specs, provenance_id, pace, lambda: model.engine.batch_tokens
        )
        fine_tasks(runtime.app, scorer, ids)
        served = partial(registry.scorers_served, ids=ids)
        return consume(runtime, served, model=checkpoint.name, scorers=len(specs))


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
