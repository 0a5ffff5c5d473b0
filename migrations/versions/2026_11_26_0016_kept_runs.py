"""what schedules refer to is kept: their runs, and their standing queries' contents

Revision: 2026_11_26_0016_kept_runs, after 2026_11_26_0015_comparisons
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_26_0016_kept_runs"
down_revision = "2026_11_26_0015_comparisons"
branch_labels = None
depends_on = None

KEPT_JOB = """
CREATE OR REPLACE FUNCTION repick_job_kept(tenant bigint, job_id uuid) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM schedule s WHERE s.tenant_id = tenant AND s.latest_run = job_id)
        OR EXISTS (SELECT FROM schedule_run r WHERE r.tenant_id = tenant AND r.run_id = job_id
                   AND r.state IN ('running', 'held'))
$$
"""
NO_JOB_KEPT = """
CREATE OR REPLACE FUNCTION repick_job_kept(tenant bigint, job_id uuid) RETURNS boolean
LANGUAGE sql STABLE AS $$ SELECT false $$
"""

_USED = """
CREATE OR REPLACE FUNCTION repick_content_used(tenant bigint, content bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM item WHERE item.tenant_id = tenant AND item.content_id = content)
        OR EXISTS (SELECT FROM job_query q WHERE q.tenant_id = tenant AND q.content_id = content)
        {standing}
        OR EXISTS (SELECT FROM pair_score p WHERE p.tenant_id = tenant AND p.query_id = content)
        OR EXISTS (SELECT FROM pair_score p WHERE p.tenant_id = tenant AND p.document_id = content)
        OR EXISTS (SELECT FROM job JOIN candidate c ON c.job_id = job.id
                   WHERE job.finished_at IS NULL AND c.tenant_id = tenant
                   AND c.content_id = content)
$$
"""
_STANDING = (
    "OR EXISTS (SELECT FROM standing_query s WHERE s.tenant_id = tenant AND s.content_id = content)"
)


def upgrade() -> None:
    op.execute(KEPT_JOB)
    op.execute(_USED.format(standing=_STANDING))


def downgrade() -> None:
    op.execute(NO_JOB_KEPT)
    op.execute(_USED.format(standing=""))
