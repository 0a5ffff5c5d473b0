"""webhooks, and an outbox that is written by the transaction that ends a job or settles a run

Triggers write it, so that no way to end a job can forget it: a ranking's last, a time limit, three
lost workers, a cancel, or a person with psql.

Revision: 2026_11_26_0014_webhooks, after 2026_11_26_0012_query_vectors
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_26_0014_webhooks"
down_revision = "2026_11_26_0012_query_vectors"
branch_labels = None
depends_on = None

ENQUEUE = """
CREATE FUNCTION repick_enqueue(tenant bigint, happened text, body jsonb) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO webhook_delivery (tenant_id, id, webhook_id, event, payload)
    SELECT tenant, gen_random_uuid(), w.id, happened,
           jsonb_build_object('type', happened, 'timestamp', now(), 'data', body)
    FROM webhook w
    WHERE w.tenant_id = tenant AND w.disabled_at IS NULL AND happened = ANY (w.events)
$$
"""
JOB_ENDED = """
CREATE FUNCTION repick_job_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM repick_enqueue(NEW.tenant_id, 'job.' || NEW.state, jsonb_build_object(
        'id', NEW.id, 'state', NEW.state, 'kind', NEW.kind, 'corpus', NEW.corpus_name,
        'queries', NEW.query_count, 'error', NEW.error, 'created_at', NEW.created_at,
        'finished_at', NEW.finished_at));
    RETURN NULL;
END $$
"""
RUN_SETTLED = """
CREATE FUNCTION repick_run_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM repick_enqueue(NEW.tenant_id, 'run.' || NEW.state, jsonb_build_object(
        'id', NEW.run_id, 'state', NEW.state, 'tick', NEW.tick, 'reasons', NEW.reasons,
        'schedule', (SELECT name FROM schedule s
                     WHERE s.tenant_id = NEW.tenant_id AND s.id = NEW.schedule_id),
        'confirmed_by', NEW.confirmed_by));
    RETURN NULL;
END $$
"""
JOB_TRIGGER = """
CREATE TRIGGER job_ended AFTER UPDATE OF state ON job FOR EACH ROW
WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
EXECUTE FUNCTION repick_job_ended()
"""
RUN_TRIGGER = """
CREATE TRIGGER run_settled AFTER UPDATE OF state ON schedule_run FOR EACH ROW
WHEN (OLD.state IS DISTINCT FROM NEW.state AND NEW.state <> 'running')
EXECUTE FUNCTION repick_run_settled()
"""


def upgrade() -> None:
    op.create_table(
        "webhook",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("old_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.CheckConstraint("octet_length(secret) = 32", name=op.f("ck_webhook_secret")),
        sa.CheckConstraint("cardinality(events) > 0", name=op.f("ck_webhook_events")),
        sa.CheckConstraint(
            "(old_secret IS NULL) = (old_secret_until IS NULL)", name=op.f("ck_webhook_old_secret")
        ),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)", name=op.f("ck_webhook_disabled")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_webhook_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_webhook")),
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("waiting", "delivered", "failed", name="delivery_state"),
            server_default="waiting",
            nullable=False,
        ),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column(
            "next_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("last_status", sa.SmallInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state <> 'waiting')",
            name=op.f("ck_webhook_delivery_finished"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "webhook_id"],
            ["webhook.tenant_id", "webhook.id"],
            name="fk_webhook_delivery_webhook",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_webhook_delivery")),
    )
    op.create_index(
        "ix_webhook_delivery_waiting",
        "webhook_delivery",
        ["next_at"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_webhook_delivery_webhook",
        "webhook_delivery",
        ["tenant_id", "webhook_id", "created_at", "id"],
    )
    op.create_index(
        "ix_webhook_delivery_finished",
        "webhook_delivery",
        ["finished_at"],
        postgresql_where=sa.text("state <> 'waiting'"),
    )
    for statement in (ENQUEUE, JOB_ENDED, RUN_SETTLED, JOB_TRIGGER, RUN_TRIGGER):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER run_settled ON schedule_run")
    op.execute("DROP TRIGGER job_ended ON job")
    op.execute("DROP FUNCTION repick_run_settled()")
    op.execute("DROP FUNCTION repick_job_ended()")
    op.execute("DROP FUNCTION repick_enqueue(bigint, text, jsonb)")
    op.drop_table("webhook_delivery")
    op.drop_table("webhook")
    op.execute("DROP TYPE delivery_state")
