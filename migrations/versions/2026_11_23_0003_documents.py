"""documents sent along: a candidate that could not become content has an error instead

Revision: 2026_11_23_0003_documents, after 2026_11_23_0002_filters
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_23_0003_documents"
down_revision = "2026_11_23_0002_filters"
branch_labels = None
depends_on = None

CHECK = "ck_candidate_content"


def upgrade() -> None:
    op.alter_column("candidate", "content_id", nullable=True)
    op.create_check_constraint(
        op.f(CHECK), "candidate", "content_id IS NOT NULL OR error_code IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DELETE FROM candidate WHERE content_id IS NULL")
    op.drop_constraint(op.f(CHECK), "candidate")
    op.alter_column("candidate", "content_id", nullable=False)
