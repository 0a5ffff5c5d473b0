"""jobs listed by their metadata

Revision: 2026_11_23_0005_job_metadata, after 2026_11_23_0004_job_options
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_23_0005_job_metadata"
down_revision = "2026_11_23_0004_job_options"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_job_metadata",
        "job",
        ["metadata"],
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
    )


def downgrade() -> None:
    op.drop_index("ix_job_metadata", table_name="job")
