"""a candidate is stored without looking its job up, which cost ten times what storing it does

Nothing is lost by it: candidates are stored by whoever holds a slice of the job, in a transaction
that renews that slice, and a slice has its job.

Revision: 2026_11_27_0024_candidates, after 2026_11_26_0023_waiting_items
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_27_0024_candidates"
down_revision = "2026_11_26_0023_waiting_items"
branch_labels = None
depends_on = None

_CONSTRAINT = "fk_candidate_job"


def upgrade() -> None:
    op.drop_constraint(_CONSTRAINT, "candidate", type_="foreignkey")


def downgrade() -> None:
    op.create_foreign_key(
        _CONSTRAINT,
        "candidate",
        "job",
        ["job_id", "tenant_id"],
        ["id", "tenant_id"],
        ondelete="CASCADE",
    )
