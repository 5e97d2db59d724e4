"""Reads back the numbers of a run as they were written: what passes a run of the past on needs all of them."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.orm import aliased

from compat_spec.results.rows import ScoreRow, SimilarityRow
from compat_spec.results.tables import ModelRecord, RunRecord, ScoreRecord, SimilarityRecord, StepRecord, TaskRecord

KEYS = frozenset(("score_id", "similarity_id", "run_id", "step_id", "model_id", "model_a_id", "model_b_id", "task_id"))
"""The columns that names stand for in the rows."""


def scores(connection: Connection, run_id: str) -> list[ScoreRow]:
    """The scores of a run, in the order in which they were found. A value that is NULL is NaN."""
    record = ScoreRecord
    found = connection.execute(
        select(*_own(record), StepRecord.fingerprint, ModelRecord.name.label("model"), TaskRecord.name.label("task"))
        .join(RunRecord, RunRecord.run_id == record.run_id)
        .join(StepRecord, StepRecord.step_id == record.step_id)
        .join(ModelRecord, ModelRecord.model_id == record.model_id)
        .join(TaskRecord, TaskRecord.task_id == record.task_id)
        .where(RunRecord.id == run_id)
        .order_by(record.score_id)
    )
    return [ScoreRow(**_fields(row)) for row in found]


def similarities(connection: Connection, run_id: str) -> list[SimilarityRow]:
    """The similarities of a run, in the order in which they were found. A value that is NULL is NaN."""
    record, a, b = SimilarityRecord, aliased(ModelRecord), aliased(ModelRecord)
    names = StepRecord.fingerprint, a.name.label("model_a"), b.name.label("model_b"), TaskRecord.name.label("task")
    found = connection.execute(
        select(*_own(record), *names)
        .join(RunRecord, RunRecord.run_id == record.run_id)
        .join(StepRecord, StepRecord.step_id == record.step_id)
        .join(a, a.model_id == record.model_a_id)
        .join(b, b.model_id == record.model_b_id)
        .join(TaskRecord, TaskRecord.task_id == record.task_id)
        .where(RunRecord.id == run_id)
        .order_by(record.similarity_id)
    )
    return [SimilarityRow(**_fields(row)) for row in found]


def _own(record: Any) -> list[Any]:
    return [column for column in record.__table__.columns if column.name not in KEYS]


def _fields(row: Any) -> dict[str, Any]:
    return {**row._mapping, "value": math.nan if row.value is None else row.value}
