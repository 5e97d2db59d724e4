"""What a sink is told of a run: rows of the results, as the calls that the contract `Sink` describes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias, TypeVar

import yaml

from compat_spec.components import EndedStep, MeasuredScore, MeasuredSimilarity, Sink, StartedRun
from compat_spec.results import Run, RunInfo, ScoreRow, SimilarityRow, StepRow
from compat_spec.spec.scalars import read_integer

Call: TypeAlias = Callable[[Sink], object]
"""One call of a method of a sink."""

Roles: TypeAlias = Mapping[str, str]
"""The role of each model and merge, by name."""

Row = TypeVar("Row", MeasuredScore, MeasuredSimilarity)


def beginning(run_id: str, run: RunInfo | Run, roles: Roles, tasks: Sequence[str], started: datetime) -> Call:
    """The call of `begin`."""

    def begin(sink: Sink) -> None:
        sink.begin(
            StartedRun(
                id=run_id,
                experiment=run.experiment,
                spec=run.spec_text,
                spec_path=run.spec_path,
                command=run.command,
                seeds=_seeds(run.spec_text),
                parameters=run.parameters,
                models=roles,
                tasks=tuple(tasks),
                versions=run.versions,
                commit=run.commit,
                host=run.host,
                device=run.device,
                executor=run.executor,
                started=started,
            )
        )

    return begin


def findings(
    roles: Roles, steps: Sequence[StepRow], scores: Sequence[ScoreRow], similarities: Sequence[SimilarityRow]
) -> Iterator[Call]:
    """The calls for steps that ended, in order: of each, `step`, then what it measured."""
    scores_of = _by_step([_score(row, roles) for row in scores])
    similarities_of = _by_step([_similarity(row) for row in similarities])
    for row in steps:
        yield _call_step(row)
        if row.fingerprint in scores_of:
            yield _call_scores(scores_of[row.fingerprint])
        if row.fingerprint in similarities_of:
            yield _call_similarities(similarities_of[row.fingerprint])


def _call_step(row: StepRow) -> Call:
    ended = EndedStep(
        fingerprint=row.fingerprint,
        kind=row.kind,
        label=row.label,
        status=row.status,
        seconds=row.seconds,
        device=row.device,
        error=row.error,
        facts=row.facts,
    )
    return lambda sink: sink.step(ended)


def _call_scores(rows: list[MeasuredScore]) -> Call:
    return lambda sink: sink.scores(rows)


def _call_similarities(rows: list[MeasuredSimilarity]) -> Call:
    return lambda sink: sink.similarities(rows)


def _score(row: ScoreRow, roles: Roles) -> MeasuredScore:
    return MeasuredScore(
        merge=row.model,
        role=roles.get(row.model, ""),
        task=row.task,
        split=row.split,
        metric=row.metric,
        quantity=row.quantity,
        seed=row.seed,
        step=row.training_step,
        parameters=row.parameters,
        value=row.value,
        n=row.n,
        block=row.block,
        other_block=row.other_block,
        expert=row.expert,
        token_class=row.token_class,
        fingerprint=row.fingerprint,
    )


def _similarity(row: SimilarityRow) -> MeasuredSimilarity:
    return MeasuredSimilarity(
        metric=row.metric,
        measure=row.measure,
        quantity=row.quantity,
        task=row.task,
        a=row.model_a,
        b=row.model_b,
        step_a=row.step_a,
        step_b=row.step_b,
        layer_a=row.layer_a,
        layer_b=row.layer_b,
        seed=row.seed,
        parameters=row.parameters,
        value=row.value,
        se=None if row.se is None or math.isnan(row.se) else row.se,
        n=row.n,
        fingerprint=row.fingerprint,
    )


def _by_step(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.fingerprint, []).append(row)
    return found


def _seeds(spec_text: str) -> tuple[int, ...]:
    """The seeds of a spec that was checked when it was run."""
    spec = yaml.load(spec_text, yaml.BaseLoader)  # reads all values as text, as YAML 1.1 would read some otherwise
    return tuple(read_integer(seed) for seed in spec.get("seeds") or ("0",))
