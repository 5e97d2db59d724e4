"""The tables of the first version."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("experiment", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("started", sa.DateTime, nullable=False),
        sa.Column("finished", sa.DateTime),
        sa.Column("error", sa.Text),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("spec_path", sa.Text, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("versions", JSON, nullable=False),
        sa.Column("git_commit", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("executor", sa.Text, nullable=False),
        sa.Column("parameters", JSON, nullable=False),
    )
    op.create_index("runs_by_experiment", "runs", ["experiment", "run_id"])
    op.create_table(
        "steps",
        sa.Column("step_id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double),
        sa.Column("device", sa.Text),
        sa.Column("started", sa.DateTime),
        sa.Column("error", sa.Text),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("peak_bytes", sa.BigInteger),
        sa.UniqueConstraint("run_id", "fingerprint", name="steps_once"),
    )
    op.create_table(
        "models",
        sa.Column("model_id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("use", sa.Text),
        sa.Column("parent", sa.Text),
        sa.Column("experts", JSON, nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.UniqueConstraint("run_id", "name", name="models_once"),
    )
    op.create_table(
        "tasks",
        sa.Column("task_id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("use", sa.Text, nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("fingerprint", sa.Text),
        sa.Column("examples", JSON, nullable=False),
        sa.UniqueConstraint("run_id", "name", name="tasks_once"),
    )
    op.create_table(
        "scores",
        sa.Column("score_id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("step_id", sa.Integer, sa.ForeignKey("steps.step_id"), nullable=False),
        sa.Column("model_id", sa.Integer, sa.ForeignKey("models.model_id"), nullable=False),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("tasks.task_id"), nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("quantity", sa.Text, nullable=False),
        sa.Column("split", sa.Text, nullable=False),
        sa.Column("training_step", sa.Integer),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("block", sa.Integer),
        sa.Column("expert", sa.Integer),
        sa.Column("value", sa.Double),
        sa.Column("n", sa.Integer),
    )
    op.create_index("scores_by_run", "scores", ["run_id", "quantity"])
    op.create_table(
        "similarities",
        sa.Column("similarity_id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("step_id", sa.Integer, sa.ForeignKey("steps.step_id"), nullable=False),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("tasks.task_id"), nullable=False),
        sa.Column("model_a_id", sa.Integer, sa.ForeignKey("models.model_id"), nullable=False),
        sa.Column("model_b_id", sa.Integer, sa.ForeignKey("models.model_id"), nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("quantity", sa.Text, nullable=False),
        sa.Column("step_a", sa.Integer),
        sa.Column("step_b", sa.Integer),
        sa.Column("layer_a", sa.Integer, nullable=False),
        sa.Column("layer_b", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("n", sa.Integer),
    )
    op.create_index("similarities_by_run", "similarities", ["run_id", "quantity"])
