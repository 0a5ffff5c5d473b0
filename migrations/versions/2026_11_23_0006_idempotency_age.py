"""idempotency keys found by their age

Revision: 2026_11_23_0006_idempotency_age, after 2026_11_23_0005_job_metadata
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_23_0006_idempotency_age"
down_revision = "2026_11_23_0005_job_metadata"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])


def downgrade() -> None:
    op.drop_index("ix_idempotency_created_at", table_name="idempotency")
