"""The examples of which a score is the mean."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "example_scores",
        sa.Column("score_id", sa.Integer, sa.ForeignKey("scores.score_id"), primary_key=True, autoincrement=False),
        sa.Column("examples", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
    )
