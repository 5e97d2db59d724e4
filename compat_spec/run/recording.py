"""What becomes of a run in the results: a row for each step, and the numbers that measuring steps found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from compat_spec.plan import Plan, Step, StepKind
from compat_spec.results import RunWriter, ScoreRow, SimilarityRow, StepRow
from compat_spec.results.rows import StepStatus
from compat_spec.run.measured import read_scores, read_similarity
from compat_spec.run.scheduler import Outcome
from compat_spec.run.sinks import Sinks
from compat_spec.run.telling import findings
from compat_spec.store import Store

AT_ONCE = 200
"""Of how many steps the results are in memory at once: each may have thousands of examples."""


class Recorder:
    """Writes how the steps of a plan ended, with their numbers read from the store, and then tells the sinks.

    A step that was computed in an earlier run is recorded like any other: the rows of a run are always complete.
    """

    def __init__(self, plan: Plan, store: Store, writer: RunWriter, sinks: Sinks) -> None:
        self._plan = plan
        self._store = store
        self._writer = writer
        self._sinks = sinks
        self._roles = {model.name: model.role for model in plan.models}
        self._tasks: dict[str, list[str]] = {}
        for task in plan.tasks:
            self._tasks.setdefault(task.fingerprint, []).append(task.name)

    def found(self, fingerprints: Iterable[str]) -> None:
        """Record steps that the store had when the run started."""
        steps = [self._plan.steps[fingerprint] for fingerprint in fingerprints]
        rows = [self._reused(step) for step in steps]
        self._writer.steps(rows)
        for start in range(0, len(steps), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            self._sinks.tell(findings(self._roles, rows[some], *self._results_of(steps[some])))

    def ended(self, outcome: Outcome) -> None:
        """Record a step that the run was to do. One that was interrupted is left to the next run."""
        if outcome.status == "interrupted":
            return
        row = self._reused(outcome.step) if outcome.status == "reused" else _row(outcome)
        scores, similarities = list[ScoreRow](), list[SimilarityRow]()
        with self._writer.together():
            self._writer.step(row)
            if outcome.status in ("computed", "reused"):
                scores, similarities = self._results_of([outcome.step])
        self._sinks.tell(findings(self._roles, [row], scores, similarities))

    def _reused(self, step: Step) -> StepRow:
        manifest = self._store.manifest(step.fingerprint)
        facts = dict(manifest.facts)
        spent = {"seconds": manifest.seconds, "cpu_seconds": facts.pop("cpu_seconds", None)}
        return StepRow(
            fingerprint=step.fingerprint,
            kind=step.kind.value,
            label=step.label,
            status="reused",
            started=datetime.fromtimestamp(manifest.created - manifest.seconds, UTC),
            **_columns(facts),
            facts=facts | spent,
        )

    def _results_of(self, steps: list[Step]) -> tuple[list[ScoreRow], list[SimilarityRow]]:
        """Write the numbers of these steps; they are returned, too."""
        for step in steps:
            for task in self._tasks.get(step.fingerprint, ()):
                self._writer.examples(task, self._store.manifest(step.fingerprint).facts["examples"])
        scores = [row for step in steps if step.kind is StepKind.MEASURE for row in self._scores(step)]
        similarities = [row for step in steps if step.kind is StepKind.COMPARE for row in self._similarities(step)]
        if scores:
            self._writer.scores(scores)
        if similarities:
            self._writer.similarities(similarities)
        return scores, similarities

    def _scores(self, step: Step) -> Iterator[ScoreRow]:
        split, scores = read_scores(self._store.path(step.fingerprint))
        for measurement in self._plan.measurements.get(step.fingerprint, ()):
            assert measurement.model is not None
            for score in scores:
                yield ScoreRow(
                    fingerprint=step.fingerprint,
                    metric=measurement.metric,
                    quantity=score.quantity or measurement.quantity,
                    task=measurement.task,
                    split=split,
                    model=measurement.model,
                    training_step=measurement.training_step,
                    seed=measurement.seed,
                    value=score.value,
                    n=score.n,
                    parameters=measurement.parameters,
                    block=score.block,
                    other_block=score.other_block,
                    expert=score.expert,
                    token_class=score.token_class,
                    examples=score.examples,
                )

    def _similarities(self, step: Step) -> Iterator[SimilarityRow]:
        similarity = read_similarity(self._store.path(step.fingerprint))
        for measurement in self._plan.measurements.get(step.fingerprint, ()):
            assert measurement.between is not None
            for pair in similarity["pairs"]:
                yield SimilarityRow(
                    fingerprint=step.fingerprint,
                    metric=measurement.metric,
                    measure=measurement.use,
                    quantity=measurement.quantity,
                    task=measurement.task,
                    model_a=measurement.between[0],
                    model_b=measurement.between[1],
                    step_a=measurement.training_steps[0],
                    step_b=measurement.training_steps[1],
                    layer_a=pair["layer_a"],
                    layer_b=pair["layer_b"],
                    seed=measurement.seed,
                    value=pair["value"],
                    se=pair.get("se"),
                    n=similarity["n"],
                    parameters=measurement.parameters,
                )


def _row(outcome: Outcome) -> StepRow:
    step, report = outcome.step, outcome.report
    facts = dict(report.facts) if report else {}
    if outcome.traceback:
        facts["traceback"] = outcome.traceback
    return StepRow(
        fingerprint=step.fingerprint,
        kind=step.kind.value,
        label=step.label,
        status=cast("StepStatus", outcome.status),
        seconds=report.seconds if report else None,
        cpu_seconds=facts.pop("cpu_seconds", None),
        started=datetime.now(UTC) - timedelta(seconds=report.seconds) if report else None,
        error=outcome.error,
        **_columns(facts),
        facts=facts,
    )


def _columns(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts that have columns of their own, taken out."""
    return {name: facts.pop(name, None) for name in ("host", "device", "peak_bytes", "gpu_peak_bytes")}
