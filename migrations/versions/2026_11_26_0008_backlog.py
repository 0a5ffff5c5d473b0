"""what waits, cheap to know: an index over unfinished jobs; embeddings that failed for now

Revision: 2026_11_26_0008_backlog, after 2026_11_24_0007_calibration
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_26_0008_backlog"
down_revision = "2026_11_24_0007_calibration"
branch_labels = None
depends_on = None

UNFINISHED = sa.text("finished_at IS NULL AND kind <> 'nightly'")


def upgrade() -> None:
    op.add_column("pending_embedding", sa.Column("retry_at", sa.DateTime(timezone=True)))
    with op.get_context().autocommit_block():
        # Building waits for older transactions, which takes no lock that others wait for.
        op.execute("SET lock_timeout = 0")
        # What a try that was cut off has left is invalid.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_pending_embedding_retry_at")
        op.create_index(
            "ix_pending_embedding_retry_at",
            "pending_embedding",
            ["retry_at"],
            postgresql_where=sa.text("retry_at IS NOT NULL"),
            postgresql_concurrently=True,
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_job_backlog")
        op.create_index(
            "ix_job_backlog",
            "job",
            ["tenant_id"],
            postgresql_include=["query_count", "k"],
            postgresql_where=UNFINISHED,
            postgresql_concurrently=True,
        )
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_job_backlog")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_pending_embedding_retry_at")
    op.drop_column("pending_embedding", "retry_at")
