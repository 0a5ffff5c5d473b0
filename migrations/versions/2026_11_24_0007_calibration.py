"""calibrations: maps from margin to probability, by tenant and scorer

Revision: 2026_11_24_0007_calibration, after 2026_11_23_0006_idempotency_age
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_24_0007_calibration"
down_revision = "2026_11_23_0006_idempotency_age"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calibration",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("scorer_id", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("map", postgresql.JSONB(), nullable=False),
        sa.Column("figures", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("method IN ('isotonic', 'platt')", name=op.f("ck_calibration_method")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_calibration_tenant_id")
        ),
        sa.ForeignKeyConstraint(
            ["scorer_id"], ["scorer.id"], name=op.f("fk_calibration_scorer_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_calibration")),
    )
    op.create_index("ix_calibration_scorer", "calibration", ["tenant_id", "scorer_id", "id"])
    op.execute(
        "CREATE TRIGGER calibration_is_immutable BEFORE UPDATE ON calibration"
        " FOR EACH ROW EXECUTE FUNCTION repick_refuse_update()"
    )


def downgrade() -> None:
    op.drop_table("calibration")
