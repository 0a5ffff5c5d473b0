"""filters over the metadata of items

Revision: 2026_11_23_0002_filters, after 2026_11_23_0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_23_0002_filters"
down_revision = "2026_11_23_0001"
branch_labels = None
depends_on = None

FOUND_BY = ("job_query", "ranking")


def upgrade() -> None:
    op.add_column("job", sa.Column("filter", postgresql.JSONB(none_as_null=True)))
    for table in FOUND_BY:
        op.add_column(table, sa.Column("search", sa.Text()))
        op.add_column(table, sa.Column("matching", sa.BigInteger()))
    op.create_index(
        "ix_item_metadata",
        "item",
        ["metadata"],
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
    )


def downgrade() -> None:
    op.drop_index("ix_item_metadata", table_name="item")
    for table in FOUND_BY:
        op.drop_column(table, "matching")
        op.drop_column(table, "search")
    op.drop_column("job", "filter")
