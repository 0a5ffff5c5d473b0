"""schedules, standing queries and their runs; jobs that wait for their time

Revision: 2026_11_26_0011_schedules, after 2026_11_26_0010_retention
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_26_0011_schedules"
down_revision = "2026_11_26_0010_retention"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
CORPUS = (["tenant_id", "corpus_id"], ["corpus.tenant_id", "corpus.id"])


def upgrade() -> None:
    _standing_query()
    _schedule()
    _schedule_run()
    op.add_column("job_query", sa.Column("standing_query", sa.Text()))
    op.create_index(
        "ix_job_query_standing",
        "job_query",
        ["job_id", "standing_query"],
        postgresql_where=sa.text("standing_query IS NOT NULL"),
    )
    op.add_column("job", sa.Column("not_before", sa.DateTime(timezone=True)))
    op.add_column("job", sa.Column("device_s", sa.Double(), server_default="0", nullable=False))
    op.create_index(
        "ix_job_nightly",
        "job",
        ["tenant_id", "id"],
        postgresql_where=sa.text("kind = 'nightly' AND finished_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_job_nightly", "job")
    op.drop_column("job", "device_s")
    op.drop_column("job", "not_before")
    op.drop_index("ix_job_query_standing", "job_query")
    op.drop_column("job_query", "standing_query")
    op.drop_table("schedule_run")
    op.drop_table("schedule")
    op.drop_table("standing_query")
    for name in ("run_trigger", "run_state", "window_policy", "missed_policy"):
        op.execute(f"DROP TYPE {name}")


def _time(name: str, *, required: bool = False) -> sa.Column[object]:
    default = NOW if required else None
    kind = sa.DateTime(timezone=True)
    return sa.Column(name, kind, server_default=default, nullable=not required)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(), server_default="{}", nullable=False)


def _standing_query() -> None:
    op.create_table(
        "standing_query",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("corpus_id", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("content_id", sa.BigInteger(), nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        _json("metadata"),
        _time("created_at", required=True),
        _time("updated_at", required=True),
        sa.PrimaryKeyConstraint(
            "tenant_id", "corpus_id", "external_id", name=op.f("pk_standing_query")
        ),
        sa.ForeignKeyConstraint(*CORPUS, name="fk_standing_query_corpus", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "content_id"],
            ["content.tenant_id", "content.id"],
            name="fk_standing_query_content",
        ),
    )
    op.create_index("ix_standing_query_content", "standing_query", ["tenant_id", "content_id"])


def _schedule() -> None:
    op.create_table(
        "schedule",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("corpus_id", sa.BigInteger(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("missed", sa.Enum("run", "skip", name="missed_policy"), nullable=False),
        sa.Column("until", sa.Time()),
        sa.Column(
            "after_until", sa.Enum("partial", "put_off", name="window_policy"), nullable=False
        ),
        sa.Column("scorer", sa.Text()),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("top_n", sa.Integer(), nullable=False),
        sa.Column("filter", postgresql.JSONB()),
        sa.Column("blend", sa.Double(), server_default="0", nullable=False),
        sa.Column("min_score", sa.Double()),
        sa.Column("tags", sa.ARRAY(sa.Text())),
        _json("alarms"),
        _json("metadata"),
        _time("paused_at"),
        _time("next_at"),
        sa.Column("latest_run", sa.Uuid()),
        _time("latest_tick"),
        _time("latest_at"),
        _time("created_at", required=True),
        _time("updated_at", required=True),
        sa.CheckConstraint("top_n BETWEEN 1 AND k", name=op.f("ck_schedule_top_n")),
        sa.CheckConstraint("blend BETWEEN 0 AND 1", name=op.f("ck_schedule_blend")),
        sa.CheckConstraint("min_score BETWEEN 0 AND 1", name=op.f("ck_schedule_min_score")),
        sa.CheckConstraint(
            "num_nulls(latest_run, latest_tick, latest_at) IN (0, 3)",
            name=op.f("ck_schedule_latest"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_schedule")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_schedule_tenant_id_name")),
        sa.ForeignKeyConstraint(*CORPUS, name="fk_schedule_corpus", ondelete="CASCADE"),
    )
    op.create_index("ix_schedule_corpus", "schedule", ["tenant_id", "corpus_id"])
    op.create_index(
        "ix_schedule_next", "schedule", ["next_at"], postgresql_where=sa.text("paused_at IS NULL")
    )


def _schedule_run() -> None:
    states = ("running", "held", "published", "ended")
    triggers = ("tick", "made_up", "manual", "date")
    op.create_table(
        "schedule_run",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("schedule_id", sa.BigInteger(), nullable=False),
        _time("tick", required=True),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("trigger", sa.Enum(*triggers, name="run_trigger"), nullable=False),
        sa.Column("state", sa.Enum(*states, name="run_state"), nullable=False),
        sa.Column("reasons", postgresql.JSONB(), server_default="[]", nullable=False),
        _json("figures"),
        _time("created_at", required=True),
        _time("window_until"),
        _time("settled_at"),
        _time("published_at"),
        _time("confirmed_at"),
        sa.Column("confirmed_by", sa.Text()),
        sa.CheckConstraint(
            "(settled_at IS NULL) = (state = 'running')", name=op.f("ck_schedule_run_settled")
        ),
        sa.CheckConstraint(
            "(published_at IS NOT NULL) = (state = 'published')",
            name=op.f("ck_schedule_run_published"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "schedule_id", "tick", name=op.f("pk_schedule_run")),
        sa.UniqueConstraint("tenant_id", "run_id", name=op.f("uq_schedule_run_tenant_id_run_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["schedule.tenant_id", "schedule.id"],
            name="fk_schedule_run_schedule",
            ondelete="CASCADE",
        ),
    )
    op.alter_column("schedule_run", "tick", server_default=None)
    op.create_index("ix_schedule_run_settled", "schedule_run", ["settled_at"])
    op.create_index(
        "ix_schedule_run_running",
        "schedule_run",
        ["created_at"],
        postgresql_where=sa.text("state = 'running'"),
    )
