"""The schema as SQLAlchemy metadata.

Every row that belongs to a user carries `tenant_id`, and foreign keys between such rows include it,
so that row-level security can be turned on without a rewrite. The keys of job tables begin with the
job's id (a uuid7), by whose weeks they are partitioned (`repick/store/partitions.py`).
"""

from repick.tables.base import metadata
from repick.tables.contents import (
    SpaceState,
    content,
    corpus,
    embedding,
    item,
    media,
    pending_embedding,
    space,
    unused_content,
)
from repick.tables.events import comparison, webhook, webhook_delivery
from repick.tables.jobs import candidate, idempotency, job, job_query, slice
from repick.tables.ledger import pair_score, ranking
from repick.tables.models import calibration, encoder, provenance, scorer
from repick.tables.schedules import query_vector, schedule, schedule_run, standing_query
from repick.tables.who import api_key, tenant

__all__ = [
    "SpaceState",
    "api_key",
    "calibration",
    "candidate",
    "comparison",
    "content",
    "corpus",
    "embedding",
    "encoder",
    "idempotency",
    "item",
    "job",
    "job_query",
    "media",
    "metadata",
    "pair_score",
    "pending_embedding",
    "provenance",
    "query_vector",
    "ranking",
    "schedule",
    "schedule_run",
    "scorer",
    "slice",
    "space",
    "standing_query",
    "tenant",
    "unused_content",
    "webhook",
    "webhook_delivery",
]
