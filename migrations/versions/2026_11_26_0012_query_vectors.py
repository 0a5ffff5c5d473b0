"""vectors of standing queries, so that no night computes them again

Revision: 2026_11_26_0012_query_vectors, after 2026_11_26_0011_schedules
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC

revision = "2026_11_26_0012_query_vectors"
down_revision = "2026_11_26_0011_schedules"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "query_vector",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("encoder_id", sa.BigInteger(), nullable=False),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column("vector", HALFVEC(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "encoder_id", "content_id", name=op.f("pk_query_vector")
        ),
        sa.ForeignKeyConstraint(
            ["encoder_id"], ["encoder.id"], name=op.f("fk_query_vector_encoder_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "content_id"],
            ["content.tenant_id", "content.id"],
            name="fk_query_vector_content",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_query_vector_content", "query_vector", ["tenant_id", "content_id"])


def downgrade() -> None:
    op.drop_table("query_vector")
