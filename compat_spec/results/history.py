"""Reads back what is known of runs, as plain data."""

from __future__ import annotations

import math
import os
import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from compat_spec.results.errors import ResultsError
from compat_spec.results.rows import FoundScore, ModelRow, Run, RunStatus, StepRow, TaskRow
from compat_spec.results.tables import ExampleScoresRecord, ModelRecord, RunRecord, ScoreRecord, StepRecord, TaskRecord

NEWEST = "last"

MOST_KEYS = 500
"""How many keys one statement asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedMean:
    """What one seed gave for one quantity of a model or merge on a task, at one point of its sweeps.

    `value` is None when it is not a number. Numbers about single blocks are left out.
    """

    task: str
    split: str
    model: str
    role: str
    training_step: int | None
    parameters: Mapping[str, Any]
    quantity: str
    seed: int
    value: float | None


def runs(connection: Connection) -> list[Run]:
    """All runs, the newest first."""
    counts: defaultdict[int, dict[str, int]] = defaultdict(dict)
    of_status = select(StepRecord.run_id, StepRecord.status, func.count()).group_by(
        StepRecord.run_id, StepRecord.status
    )
    for run, status, count in connection.execute(of_status):
        counts[run][status] = count
    found = connection.execute(select(RunRecord.__table__).order_by(RunRecord.run_id.desc()))
    return [_run(row, counts[row.run_id]) for row in found]


def find_run(connection: Connection, name: str) -> Run:
    """The run with this id or beginning of an id; the newest with `last` or the name of an experiment.

    Raises:
        ResultsError: none, or several ids begin like that.
    """
    known = runs(connection)
    if not known:
        raise ResultsError("there are no runs yet; start one with compat run SPEC")
    if name == NEWEST:
        return known[0]
    if of_experiment := [run for run in known if run.experiment == name]:
        return of_experiment[0]
    alike = [run for run in known if name and run.id.startswith(name)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise ResultsError(f"{len(alike)} runs begin with {name!r}: {_listed(run.id for run in alike)}")
    experiments = dict.fromkeys(run.experiment for run in known)
    raise ResultsError(f"no run {name!r}; see compat runs (experiments: {_listed(experiments)})")


def models(connection: Connection, run_id: str) -> list[ModelRow]:
    """The models and merges of a run, as the spec orders them."""
    record = ModelRecord
    columns = (record.name, record.role, record.use, record.parent, record.experts, record.parameters)
    rows = connection.execute(_of_run(select(*columns), record, run_id).order_by(record.model_id))
    return [ModelRow(**{**row._mapping, "experts": tuple(row.experts)}) for row in rows]


def tasks(connection: Connection, run_id: str) -> list[TaskRow]:
    """The tasks of a run, as the spec orders them."""
    record = TaskRecord
    columns = (record.name, record.use, record.parameters, record.fingerprint, record.examples)
    rows = connection.execute(_of_run(select(*columns), record, run_id).order_by(record.task_id))
    return [TaskRow(**row._mapping) for row in rows]


def steps(connection: Connection, run_id: str) -> list[StepRow]:
    """The steps of a run, as they were recorded."""
    record = StepRecord
    columns = [column for column in record.__table__.columns if column.name not in ("run_id", "step_id")]
    rows = connection.execute(_of_run(select(*columns), record, run_id).order_by(record.step_id))
    return [StepRow(**{**row._mapping, "started": _aware(row.started)}) for row in rows]


def seed_means(connection: Connection, run_id: str) -> list[SeedMean]:
    """The mean of each quantity for each seed, where a metric or several gave more than one number."""
    score = ScoreRecord
    point = (
        TaskRecord.name.label("task"),
        score.split,
        ModelRecord.name.label("model"),
        ModelRecord.role,
        score.training_step,
        score.parameters,
        score.quantity,
        score.seed,
    )
    whole = func.count() == func.count(score.value)
    rows = connection.execute(
        select(*point, func.avg(score.value).label("value"), whole.label("whole"))
        .join(RunRecord, RunRecord.run_id == score.run_id)
        .join(ModelRecord, ModelRecord.model_id == score.model_id)
        .join(TaskRecord, TaskRecord.task_id == score.task_id)
        .where(RunRecord.id == run_id, score.block.is_(None))
        .group_by(*point)
        .order_by(func.min(score.score_id))
    )
    return [
        SeedMean(**{key: value for key, value in row._mapping.items() if key not in ("value", "whole")}, value=value)
        for row in rows
        for value in (row.value if row.whole else None,)
    ]


def scores(connection: Connection, run_id: str, model: str) -> list[FoundScore]:
    """The numbers about a whole model or merge: not those about its blocks, or about some of the tokens."""
    score = ScoreRecord
    rows = connection.execute(
        select(
            score.score_id.label("key"),
            score.metric,
            score.quantity,
            TaskRecord.name.label("task"),
            score.split,
            ModelRecord.name.label("model"),
            score.training_step,
            score.parameters,
            score.seed,
            score.value,
            score.n,
        )
        .join(RunRecord, RunRecord.run_id == score.run_id)
        .join(ModelRecord, ModelRecord.model_id == score.model_id)
        .join(TaskRecord, TaskRecord.task_id == score.task_id)
        .where(RunRecord.id == run_id, ModelRecord.name == model)
        .where(score.block.is_(None), score.expert.is_(None), score.token_class.is_(None))
        .order_by(score.score_id)
    )
    return [FoundScore(**{**row._mapping, "value": _number(row.value)}) for row in rows]


def examples(connection: Connection, keys: Sequence[int]) -> dict[int, list[tuple[int, float, float]]]:
    """The place in the split, value and weight of each example of the scores that have any, by their keys."""
    found: dict[int, list[tuple[int, float, float]]] = {}
    for start in range(0, len(keys), MOST_KEYS):
        record = ExampleScoresRecord
        these = record.score_id.in_(keys[start : start + MOST_KEYS])
        for key, rows in connection.execute(select(record.score_id, record.examples).where(these)):
            found[key] = [(place, _number(value), float(weight)) for place, value, weight in rows]
    return found


def _number(value: Any) -> float:
    """NaN for NULL; infinity for its word, as JSON has it."""
    return math.nan if value is None else float(value)


def _of_run(query: Any, record: Any, run_id: str) -> Any:
    return query.join(RunRecord, RunRecord.run_id == record.run_id).where(RunRecord.id == run_id)


def _run(row: Any, counts: Mapping[str, int]) -> Run:
    started, finished = _aware(row.started), _aware(row.finished)
    assert started is not None
    return Run(
        id=row.id,
        experiment=row.experiment,
        status=_status(row.status, row.host, row.pid),
        started=started,
        finished=finished,
        error=row.error,
        spec_text=row.spec,
        spec_path=row.spec_path,
        command=row.command,
        versions=row.versions,
        commit=row.git_commit,
        host=row.host,
        device=row.device,
        executor=row.executor,
        parameters=tuple(row.parameters),
        steps=counts,
    )


def _status(recorded: RunStatus, host: str, pid: int) -> RunStatus:
    """A run that was killed could not say so: only its process tells, and only on its own machine."""
    if recorded != "running" or host != socket.gethostname():
        return recorded
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "died"
    except OSError:  # alive, but somebody else's
        pass
    return "running"


def _aware(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:5])
