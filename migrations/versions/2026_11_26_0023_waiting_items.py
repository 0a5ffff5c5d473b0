"""a claim of waiting items looks at no more of them than it takes

Revision: 2026_11_26_0023_waiting_items, after 2026_11_26_0020_isolation
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_26_0023_waiting_items"
down_revision = "2026_11_26_0020_isolation"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # Building waits for older transactions, which takes no lock that others wait for.
        op.execute("SET lock_timeout = 0")
        # What a try that was cut off has left is invalid.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_pending_embedding_waiting")
        op.create_index(
            "ix_pending_embedding_waiting",
            "pending_embedding",
            ["space_id", "item_id"],
            postgresql_where=sa.text("error_code IS NULL"),
            postgresql_concurrently=True,
        )
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_pending_embedding_waiting")
