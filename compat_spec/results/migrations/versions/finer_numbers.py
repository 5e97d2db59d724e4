"""How sure a similarity is, and numbers about routers that concern two blocks or a class of tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("similarities", sa.Column("se", sa.Double))
    op.add_column("scores", sa.Column("other_block", sa.Integer))
    op.add_column("scores", sa.Column("token_class", sa.Text))
