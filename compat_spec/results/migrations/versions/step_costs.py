"""Where a step was computed, its CPU time, and the memory that it took on a GPU."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("steps", sa.Column("cpu_seconds", sa.Double))
    op.add_column("steps", sa.Column("host", sa.Text))
    op.add_column("steps", sa.Column("gpu_peak_bytes", sa.BigInteger))
