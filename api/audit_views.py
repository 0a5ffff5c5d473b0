"""The answer about one score."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from api.job_views import HitOut, hit_facts
from api.views import ModelOut, View
from repick import wording
from repick.calibration import Map
from repick.content import Content
from repick.specs import Readout
from repick.store.audits import Audit


class PartOut(View):
    """A query or a document as it was judged; an image by the hash of its bytes."""

    text: str | None
    image_sha256: str | None
    instruction: str | None

    @classmethod
    def of(cls, one: Content) -> PartOut:
        media = one.media
        return cls(
            text=one.text,
            image_sha256=media.sha256.hex() if media else None,
            instruction=one.instruction,
        )


class PassOut(View):
    """One forward pass: the user's turn as a person reads it, and the logit of each label.

    `prompt` is without the model's chat template, with `<image>` for an image, and with the whole
    text also where its end was cut off. `enhanced_at` is the decoder layer that fired, or null.
    """

    prompt: str
    label_logits: dict[str, float]
    enhanced_at: int | None


class AuditOut(View):
    """What was asked, what the model said, and exactly which model said it where."""

    job: UUID
    query: int
    hit: HitOut
    query_content: PartOut
    document_content: PartOut
    passes: list[PassOut]
    scorer: ModelOut
    provenance: dict[str, Any]
    scored_at: datetime


def audit_out(job_id: UUID, query_no: int, one: Audit, calibration: Map | None) -> AuditOut:
    return AuditOut(
        job=job_id,
        query=query_no,
        hit=HitOut.model_validate(hit_facts(one.hit, calibration)),
        query_content=PartOut.of(one.query),
        document_content=PartOut.of(one.document),
        passes=_passes(one),
        scorer=ModelOut.of(one.scorer),
        provenance=dict(one.provenance),
        scored_at=one.scored_at,
    )


def _passes(one: Audit) -> list[PassOut]:
    readout = Readout(one.scorer.specification["readout"])
    passes = zip(
        wording.turns(one.query, one.document, readout),
        wording.WORDS[readout],
        one.pair.label_logits,
        one.pair.enhanced_at,
        strict=True,
    )
    return [
        PassOut(
            prompt=prompt,
            label_logits=dict(zip(words, logits, strict=True)),
            enhanced_at=layer,
        )
        for prompt, words, logits, layer in passes
    ]
