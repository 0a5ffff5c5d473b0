"""blend, score threshold, time limit, and how much of a document was cut

Revision: 2026_11_23_0004_job_options, after 2026_11_23_0003_documents
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_23_0004_job_options"
down_revision = "2026_11_23_0003_documents"
branch_labels = None
depends_on = None

ARRAYS = (
    "content_ids",
    "scores",
    "margins",
    "label_masses",
    "entropies",
    "enhanced_at",
    "coarse_ranks",
    "coarse_scores",
)
FROZEN_SCORE = (
    "tenant_id, query_id, document_id, scorer_id, margin, score, label_mass, entropy,"
    " enhanced_at, label_logits, provenance_id, created_at"
)
VIEW_COMMENT = (
    "One row a hit: rank counts from 1; enhanced_at is the first decoder layer at which visual"
    " enhancement fired, null where it did not; coarse_rank and coarse_score come from the coarse stage."
)
CLEARED = "state = 'cancelled' OR deadline IS NOT NULL"


def upgrade() -> None:
    op.execute("DROP VIEW ranking_hit")
    for table in ("job", "ranking"):
        op.add_column(table, sa.Column("blend", sa.Double(), server_default="0", nullable=False))
        op.add_column(table, sa.Column("min_score", sa.Double()))
    op.add_column("job", sa.Column("deadline", sa.DateTime(timezone=True)))
    op.create_check_constraint(op.f("ck_job_blend"), "job", "blend BETWEEN 0 AND 1")
    op.create_check_constraint(op.f("ck_job_min_score"), "job", "min_score BETWEEN 0 AND 1")
    op.create_index(
        "ix_job_deadline", "job", ["deadline"], postgresql_where=sa.text("finished_at IS NULL")
    )
    op.drop_index("ix_job_cancelled", "job")
    op.create_index("ix_job_cleared", "job", ["finished_at"], postgresql_where=sa.text(CLEARED))
    op.add_column(
        "pair_score", sa.Column("cut_tokens", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("ranking", sa.Column("cut_tokens", sa.ARRAY(sa.Integer())))
    _freeze_scores(f"{FROZEN_SCORE}, cut_tokens")
    _one_length((*ARRAYS, "cut_tokens"))
    _view((*_VIEW, "cut_tokens"))


def downgrade() -> None:
    op.execute("DROP VIEW ranking_hit")
    _freeze_scores(FROZEN_SCORE)
    _one_length(ARRAYS)
    op.drop_column("ranking", "cut_tokens")
    op.drop_column("pair_score", "cut_tokens")
    op.drop_index("ix_job_cleared", "job")
    op.create_index(
        "ix_job_cancelled",
        "job",
        ["finished_at"],
        postgresql_where=sa.text("state = 'cancelled'"),
    )
    op.drop_index("ix_job_deadline", "job")
    op.drop_column("job", "deadline")
    for table in ("job", "ranking"):
        op.drop_column(table, "min_score")
        op.drop_column(table, "blend")
    _view(_VIEW)


def _freeze_scores(columns: str) -> None:
    op.execute("DROP TRIGGER pair_score_is_immutable ON pair_score")
    op.execute(
        f"CREATE TRIGGER pair_score_is_immutable BEFORE UPDATE OF {columns} ON pair_score"
        " FOR EACH ROW EXECUTE FUNCTION repick_refuse_update()"
    )


def _one_length(arrays: tuple[str, ...]) -> None:
    """Rankings from before have no array of cut tokens, which no check can fail."""
    op.drop_constraint(op.f("ck_ranking_one_length"), "ranking")
    op.create_check_constraint(
        op.f("ck_ranking_one_length"),
        "ranking",
        " AND ".join(f"cardinality({name}) = cardinality(external_ids)" for name in arrays),
    )


_VIEW = (
    "external_id",
    "content_id",
    "score",
    "margin",
    "label_mass",
    "entropy",
    "enhanced_at",
    "coarse_rank",
    "coarse_score",
)
_ARRAY_OF = {"label_mass": "label_masses", "entropy": "entropies"} | {
    name: name for name in ("enhanced_at", "cut_tokens")
}


def _view(columns: tuple[str, ...]) -> None:
    arrays = ", ".join(f"r.{_ARRAY_OF.get(name, name + 's')}" for name in columns)
    hits = ", ".join(f"hit.{name}" for name in columns)
    op.execute(
        "CREATE VIEW ranking_hit AS SELECT r.tenant_id, r.job_id, r.query_no,"
        f" hit.rank::integer AS rank, {hits}, r.scorer_id, r.encoder_id, r.untrained, r.created_at"
        f" FROM ranking r CROSS JOIN LATERAL unnest({arrays}) WITH ORDINALITY"
        f" AS hit ({', '.join(columns)}, rank)"
    )
    op.execute(f"COMMENT ON VIEW ranking_hit IS '{VIEW_COMMENT}'")
