"""The tables of the results.

`run_id`, `step_id`, `model_id` and `task_id` are integer keys inside one database; people meet the public `id` of a run
and the fingerprints and names of the rest, which the views show.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Double, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    type_annotation_map = {str: Text, float: Double, dict[str, Any]: Json, list[str]: Json, list[Any]: Json}  # noqa: RUF012


class RunRecord(Base):
    """One start of `compat run`. Times are UTC."""

    __tablename__ = "runs"
    __table_args__ = (Index("runs_by_experiment", "experiment", "run_id"),)

    run_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    experiment: Mapped[str]
    status: Mapped[str]
    started: Mapped[datetime] = mapped_column(DateTime)
    finished: Mapped[datetime | None] = mapped_column(DateTime)
    error: Mapped[str | None]
    spec: Mapped[str]
    spec_path: Mapped[str]
    command: Mapped[str]
    versions: Mapped[dict[str, Any]]
    git_commit: Mapped[str | None]
    host: Mapped[str]
    pid: Mapped[int]
    device: Mapped[str]
    executor: Mapped[str]
    parameters: Mapped[list[str]]


class StepRecord(Base):
    """A step of a run: what it was, how it ended, what it cost."""

    __tablename__ = "steps"
    __table_args__ = (UniqueConstraint("run_id", "fingerprint", name="steps_once"),)

    step_id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.run_id"))
    fingerprint: Mapped[str]
    kind: Mapped[str]
    label: Mapped[str]
    status: Mapped[str]
    seconds: Mapped[float | None]
    cpu_seconds: Mapped[float | None]
    host: Mapped[str | None]
    device: Mapped[str | None]
    started: Mapped[datetime | None] = mapped_column(DateTime)
    error: Mapped[str | None]
    facts: Mapped[dict[str, Any]]
    peak_bytes: Mapped[int | None] = mapped_column(BigInteger)
    gpu_peak_bytes: Mapped[int | None] = mapped_column(BigInteger)


class ModelRecord(Base):
    """A model or merge of a run's spec."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("run_id", "name", name="models_once"),)

    model_id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.run_id"))
    name: Mapped[str]
    role: Mapped[str]
    use: Mapped[str | None]
    parent: Mapped[str | None]
    experts: Mapped[list[str]]
    parameters: Mapped[dict[str, Any]]


class TaskRecord(Base):
    """A task of a run's spec."""

    __tablename__ = "tasks"
    __table_args__ = (UniqueConstraint("run_id", "name", name="tasks_once"),)

    task_id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.run_id"))
    name: Mapped[str]
    use: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    fingerprint: Mapped[str | None]
    examples: Mapped[dict[str, Any]]


class ScoreRecord(Base):
    """A number about a model or merge on a task. `value` is NULL where the metric found no number (NaN)."""

    __tablename__ = "scores"
    __table_args__ = (Index("scores_by_run", "run_id", "quantity"),)

    score_id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.run_id"))
    step_id: Mapped[int] = mapped_column(ForeignKey("steps.step_id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.model_id"))
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.task_id"))
    metric: Mapped[str]
    quantity: Mapped[str]
    split: Mapped[str]
    training_step: Mapped[int | None]
    seed: Mapped[int] = mapped_column(BigInteger)
    parameters: Mapped[dict[str, Any]]
    block: Mapped[int | None]
    other_block: Mapped[int | None]
    expert: Mapped[int | None]
    token_class: Mapped[str | None]
    value: Mapped[float | None]
    n: Mapped[int | None]


class ExampleScoresRecord(Base):
    """The examples of which a score is the weighted mean: a list of `[place in the split, value, weight]`.

    One row for all of them: a row each would be most of the database. NaN is null, infinity a word.
    """

    __tablename__ = "example_scores"

    score_id: Mapped[int] = mapped_column(ForeignKey("scores.score_id"), primary_key=True, autoincrement=False)
    examples: Mapped[list[Any]]


class SimilarityRecord(Base):
    """A number about a layer of one model and a layer of another."""

    __tablename__ = "similarities"
    __table_args__ = (Index("similarities_by_run", "run_id", "quantity"),)

    similarity_id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.run_id"))
    step_id: Mapped[int] = mapped_column(ForeignKey("steps.step_id"))
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.task_id"))
    model_a_id: Mapped[int] = mapped_column(ForeignKey("models.model_id"))
    model_b_id: Mapped[int] = mapped_column(ForeignKey("models.model_id"))
    metric: Mapped[str]
    measure: Mapped[str]
    quantity: Mapped[str]
    step_a: Mapped[int | None]
    step_b: Mapped[int | None]
    layer_a: Mapped[int]
    layer_b: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    parameters: Mapped[dict[str, Any]]
    value: Mapped[float | None]
    se: Mapped[float | None]
    n: Mapped[int | None]
