"""Writes the rows of one run."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from compat_spec.results import parameter_types, views
from compat_spec.results.failures import explained
from compat_spec.results.rows import FinalStatus, RunInfo, ScoreRow, SimilarityRow, StepRow
from compat_spec.results.tables import (
    Base,
    ExampleScoresRecord,
    ModelRecord,
    RunRecord,
    ScoreRecord,
    SimilarityRecord,
    StepRecord,
    TaskRecord,
)

MOST_NAMES = 500
"""How many names one statement asks for: databases limit the parameters of a statement."""


class RunWriter:
    """Writes one run. Each call is a transaction of its own: when it returns, its rows are on disk.

    Attributes:
        id: the public id of the run.
    """

    def __init__(self, engine: Engine, name: str, info: RunInfo) -> None:
        self.id = secrets.token_hex(4)
        self._engine = engine
        self._name = name
        self._steps: dict[str, int] = {}
        self._recorded: set[str] = set()
        self._open: Connection | None = None
        """The transaction of `together`, inside it."""
        with self._transaction() as connection:
            self._run = _insert_run(connection, self.id, info)
            for record, rows in ((ModelRecord, info.models), (TaskRecord, info.tasks)):
                _insert(connection, record, [{**_columns(row), "run_id": self._run} for row in rows])
            self._models = _ids(connection, ModelRecord.name, ModelRecord.model_id, self._run)
            self._tasks = _ids(connection, TaskRecord.name, TaskRecord.task_id, self._run)
            self._types = views.refresh(connection)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside, all calls are one transaction: a step and its numbers are there together, or not at all."""
        with self._transaction() as connection:
            self._open = connection
            try:
                yield
            finally:
                self._open = None

    def step(self, row: StepRow) -> None:
        """Record how a step went."""
        self.steps([row])

    def steps(self, rows: Sequence[StepRow]) -> None:
        """Record how several steps went, in one transaction. A step that went once more replaces its row."""
        with self._transaction() as connection:
            for row in (row for row in rows if row.fingerprint in self._recorded):
                of_step = (StepRecord.run_id == self._run) & (StepRecord.fingerprint == row.fingerprint)
                connection.execute(update(StepRecord).where(of_step).values(self._step(row)))
            rows = [row for row in rows if row.fingerprint not in self._recorded]
            _insert(connection, StepRecord, [self._step(row) for row in rows])
        self._recorded.update(row.fingerprint for row in rows)

    def examples(self, task: str, counts: Mapping[str, int]) -> None:
        """Record how many examples each split of a task has."""
        with self._transaction() as connection:
            of_task = TaskRecord.task_id == _find(self._tasks, task, "task")
            connection.execute(update(TaskRecord).where(of_task).values(examples=dict(counts)))

    def scores(self, rows: Sequence[ScoreRow]) -> None:
        """Record scores. The steps that found them must be recorded already."""
        self._widen_columns(rows)
        with self._transaction() as connection:
            steps = self._step_ids(connection, rows)
            found = [self._score(row, steps) for row in rows]
            if not any(row.examples for row in rows):
                _insert(connection, ScoreRecord, found)
                return
            with_keys = insert(ScoreRecord).returning(ScoreRecord.score_id, sort_by_parameter_order=True)
            keys = connection.scalars(with_keys, found).all()
            examples = [(key, row.examples) for key, row in zip(keys, rows, strict=True) if row.examples]
            _insert(connection, ExampleScoresRecord, [_examples(*of_score) for of_score in examples])

    def similarities(self, rows: Sequence[SimilarityRow]) -> None:
        """Record similarities. The steps that found them must be recorded already."""
        self._widen_columns(rows)
        with self._transaction() as connection:
            steps = self._step_ids(connection, rows)
            _insert(connection, SimilarityRecord, [self._similarity(row, steps) for row in rows])

    def finish(self, status: FinalStatus, error: str | None = None) -> None:
        """Record how the run ended, and leave the database as one whole file."""
        with self._transaction() as connection:
            connection.execute(
                update(RunRecord)
                .where(RunRecord.run_id == self._run)
                .values(status=status, error=_text(error), finished=_utc(datetime.now(UTC)))
            )
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._open is not None:
            yield self._open
            return
        with explained(self._name), self._engine.begin() as connection:
            yield connection

    def _widen_columns(self, rows: Sequence[ScoreRow] | Sequence[SimilarityRow]) -> None:
        """Let the views of PostgreSQL show the values of swept parameters that these rows have."""
        if not self._types:
            return
        needed = parameter_types.needed(row.parameters for row in rows)
        lacking = {
            name: kind
            for name, kind in needed.items()
            if name in self._types and parameter_types.wider(kind, self._types[name]) != self._types[name]
        }
        if lacking:
            with self._transaction() as connection:
                self._types = views.refresh(connection, lacking)

    def _step_ids(self, connection: Connection, rows: Sequence[ScoreRow] | Sequence[SimilarityRow]) -> dict[str, int]:
        """The keys of the steps of these rows; of the others only those that were asked for before."""
        record = StepRecord
        missing = sorted({row.fingerprint for row in rows} - self._steps.keys())
        for start in range(0, len(missing), MOST_NAMES):
            these = record.fingerprint.in_(missing[start : start + MOST_NAMES])
            self._steps |= _ids(connection, record.fingerprint, record.step_id, self._run, these)
        return self._steps

    def _step(self, row: StepRow) -> dict[str, Any]:
        facts = {name: _text(fact) if isinstance(fact, str) else fact for name, fact in row.facts.items()}
        return _columns(row) | {
            "run_id": self._run,
            "started": _utc(row.started),
            "error": _text(row.error),
            "facts": facts,
        }

    def _score(self, row: ScoreRow, steps: Mapping[str, int]) -> dict[str, Any]:
        return _columns(row, besides=("fingerprint", "model", "task", "examples")) | {
            "run_id": self._run,
            "step_id": _find(steps, row.fingerprint, "step"),
            "model_id": _find(self._models, row.model, "model"),
            "task_id": _find(self._tasks, row.task, "task"),
            "parameters": dict(sorted(row.parameters.items())),  # equal points are equal text, and group as one
            "value": _number(row.value),
        }

    def _similarity(self, row: SimilarityRow, steps: Mapping[str, int]) -> dict[str, Any]:
        return _columns(row, besides=("fingerprint", "model_a", "model_b", "task")) | {
            "run_id": self._run,
            "step_id": _find(steps, row.fingerprint, "step"),
            "model_a_id": _find(self._models, row.model_a, "model"),
            "model_b_id": _find(self._models, row.model_b, "model"),
            "task_id": _find(self._tasks, row.task, "task"),
            "parameters": dict(sorted(row.parameters.items())),  # equal points are equal text, and group as one
            "value": _number(row.value),
            "se": None if row.se is None else _number(row.se),
        }


def _insert_run(connection: Connection, public_id: str, info: RunInfo) -> int:
    run = {
        "id": public_id,
        "experiment": info.experiment,
        "status": "running",
        "started": _utc(datetime.now(UTC)),
        "spec": info.spec_text,
        "spec_path": info.spec_path,
        "command": info.command,
        "versions": info.versions,
        "git_commit": info.commit,
        "host": info.host,
        "pid": os.getpid(),
        "device": info.device,
        "executor": info.executor,
        "parameters": list(info.parameters),
    }
    key = connection.execute(insert(RunRecord).values(run)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _insert(connection: Connection, record: type[Base], rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(record), rows)


def _ids(connection: Connection, name: Any, key: Any, run: int, *which: Any) -> dict[str, int]:
    """The integer keys of what a run has, by name."""
    return {row[0]: row[1] for row in connection.execute(select(name, key).where(key.class_.run_id == run, *which))}


def _find(ids: Mapping[str, int], name: str, kind: str) -> int:
    try:
        return ids[name]
    except KeyError:
        raise ValueError(f"this run has no {kind} {name!r}: record it before what was measured of it") from None


def _columns(row: Any, besides: tuple[str, ...] = ()) -> dict[str, Any]:
    kind: Any = type(row)
    return {name: getattr(row, name) for name in _names(kind, besides)}


@cache
def _names(kind: Any, besides: tuple[str, ...]) -> list[str]:
    return [field.name for field in fields(kind) if field.name not in besides]


def _examples(score: int, examples: Sequence[tuple[int, float, float]]) -> dict[str, Any]:
    rows = [(place, _number(value), weight) for place, value, weight in examples]
    return {"score_id": score, "examples": rows}


def _number(value: float) -> float | None:
    """NaN is NULL everywhere, as it is in SQLite."""
    return None if math.isnan(value) else float(value)


def _text(text: str | None) -> str | None:
    """Without the NUL that an error may quote from a file: PostgreSQL does not take it."""
    return text and text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _utc(moment: datetime | None) -> datetime | None:
    """Without its time zone, as the tables keep times."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)
