"""what is kept and what refers to what, in one place each

Revision: 2026_11_26_0010_retention, after 2026_11_26_0009_partitions
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_26_0010_retention"
down_revision = "2026_11_26_0009_partitions"
branch_labels = None
depends_on = None

# A new referrer is added here, by CREATE OR REPLACE in its own migration.
KEPT_JOB = """
CREATE FUNCTION repick_job_kept(tenant bigint, job_id uuid) RETURNS boolean LANGUAGE sql STABLE AS
$$ SELECT false $$
"""
KEPT_JOB_COMMENT = "Whether a job is kept beyond its age, for whatever refers to it."

CONTENT_USED = """
CREATE FUNCTION repick_content_used(tenant bigint, content bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM item WHERE item.tenant_id = tenant AND item.content_id = content)
        OR EXISTS (SELECT FROM job_query q WHERE q.tenant_id = tenant AND q.content_id = content)
        OR EXISTS (SELECT FROM pair_score p WHERE p.tenant_id = tenant AND p.query_id = content)
        OR EXISTS (SELECT FROM pair_score p WHERE p.tenant_id = tenant AND p.document_id = content)
        OR EXISTS (SELECT FROM job JOIN candidate c ON c.job_id = job.id
                   WHERE job.finished_at IS NULL AND c.tenant_id = tenant
                   AND c.content_id = content)
$$
"""
CONTENT_USED_COMMENT = (
    "Whether an item, a job, a candidate of a live job or a pair score refers to a content. Rankings"
    " do so through the pair scores that they were made of, which repick_pair_used keeps."
)

PAIR_USED = """
CREATE FUNCTION repick_pair_used(tenant bigint, query bigint, document bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM job_query q JOIN job ON job.id = q.job_id
        WHERE q.tenant_id = tenant AND q.content_id = query AND (
            job.finished_at IS NULL OR EXISTS (
                SELECT FROM ranking r WHERE r.job_id = q.job_id AND r.query_no = q.query_no
                AND r.content_ids @> ARRAY[document])))
$$
"""
PAIR_USED_COMMENT = "Whether a live job or a kept ranking has a pair of contents."

FUNCTIONS = {
    "repick_job_kept(bigint, uuid)": (KEPT_JOB, KEPT_JOB_COMMENT),
    "repick_content_used(bigint, bigint)": (CONTENT_USED, CONTENT_USED_COMMENT),
    "repick_pair_used(bigint, bigint, bigint)": (PAIR_USED, PAIR_USED_COMMENT),
}


def upgrade() -> None:
    for signature, (definition, comment) in FUNCTIONS.items():
        op.execute(definition)
        op.execute(f"COMMENT ON FUNCTION {signature} IS '{comment}'")
    op.create_table(
        "unused_content",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "content_id"],
            ["content.tenant_id", "content.id"],
            name="fk_unused_content_content",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "content_id", name=op.f("pk_unused_content")),
    )
    op.create_index("ix_unused_content_since", "unused_content", ["since"])
    op.create_index("ix_pair_score_last_used_at", "pair_score", ["last_used_at"])


def downgrade() -> None:
    op.drop_index("ix_pair_score_last_used_at", table_name="pair_score")
    op.drop_table("unused_content")
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
