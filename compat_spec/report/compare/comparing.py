"""Compares models of one or several runs in pairs, and corrects for how many pairs there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, TypeAlias

from compat_spec.errors import CompatError, UsageError
from compat_spec.report.compare.measures import Measure, common_measure, means
from compat_spec.report.compare.names import Wanted, wanted
from compat_spec.report.compare.pairs import PairedDifference, paired_difference
from compat_spec.report.compare.points import Point, point_of
from compat_spec.results import FoundScore, Results, Run
from compat_spec.statistics import benjamini_hochberg, holm

Correction: TypeAlias = Literal["holm", "bh", "none"]

MOST_MODELS = 30
"""Each with each of so many are 435 pairs; nobody reads more."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What was compared, in pairs, and what a reader has to know about all of them."""

    measure: Measure
    pairs: Sequence[PairedDifference]
    correction: Correction
    level: float
    notes: Sequence[str]


def compare(
    results: Results,
    models: Sequence[str],
    *,
    run: str = "last",
    metric: str = "loss",
    task: str | None = None,
    split: str | None = None,
    where: Mapping[str, Any] | None = None,
    against: str | None = None,
    correction: Correction = "holm",
    level: float = 0.95,
) -> Compared:
    """Compare models or merges in pairs, over the seeds and examples that they share.

    Each is taken at the point of its sweeps that its name gives, or at its best by the mean over seeds.

    Args:
        models: names, such as `router`, `blend[alpha=0.5,step=160]`, `math@80` or, of another run, `RUN/router`. With
            `against`, none are all merges.
        run: where names are looked for.
        metric: the name of a metric of the spec, or a quantity: `loss`, `accuracy`, `answers`.
        task, split: needed where the metric was measured on several.
        where: settings of all models that sweep them.
        against: compare each with this one, instead of each with each.
        correction: for several pairs: Holm's, Benjamini and Hochberg's, or none.
        level: of the intervals.

    Raises:
        UsageError: a name, metric or setting that is not there, or not enough to compare.
        CompatError: they cannot be paired: other examples, no seed in common.
    """
    here = results.run(run)
    known = [model.name for model in results.models(here.id)]
    if against is not None and not models:
        models = _measured_merges(results, here, metric, task, split, against)
    names = [wanted(text, known) for text in dict.fromkeys([*models, *([against] if against else [])])]
    if len(names) < 2:
        raise UsageError("name two models or merges to compare, or one and --against another; compat show lists them")
    if len(names) > MOST_MODELS and against is None:
        raise UsageError(
            f"{len(names)} models are {len(names) * (len(names) - 1) // 2} pairs; use --against one of them"
        )
    runs = {name.run: here if name.run is None else results.run(name.run) for name in names}
    scores = [_scores(results, runs[name.run], name) for name in names]
    measure = common_measure([name.text for name in names], scores, metric, task, split)
    _insist_on_the_same_task(results, list(runs.values()), measure)
    points = [
        point_of(name, [score for score in own if measure.has(score)], where or {})
        for name, own in zip(names, scores, strict=True)
    ]
    _insist_on_settings(where or {}, points, scores)
    several = len({found.id for found in runs.values()}) > 1
    labels = [
        f"{runs[name.run].id if name.run is None else name.run}/{point.label}" if several else point.label
        for name, point in zip(names, points, strict=True)
    ]
    examples = results.examples([score.key for point in points for score in point.scores.values()])
    chosen = (
        combinations(range(len(names)), 2) if against is None else ((i, len(names) - 1) for i in range(len(names) - 1))
    )
    pairs = [paired_difference(points[i], points[j], (labels[i], labels[j]), examples, level) for i, j in chosen]
    corrected = {"holm": holm, "bh": benjamini_hochberg}.get(correction)
    p_values = [pair.p_value for pair in pairs]
    for pair, p_value in zip(pairs, corrected(p_values) if corrected else p_values, strict=True):
        pair.p_adjusted = float(p_value)
    return Compared(measure, pairs, correction, level, _notes(points, labels))


def _measured_merges(
    results: Results, run: Run, metric: str, task: str | None, split: str | None, besides: str
) -> list[str]:
    return [
        model.name
        for model in results.models(run.id)
        if model.role == "merge" and model.name != besides
        if any(means(Measure.of(score), metric, task, split) for score in results.scores_of(run.id, model.name))
    ]


def _scores(results: Results, run: Run, name: Wanted) -> list[FoundScore]:
    found = results.scores_of(run.id, name.model)
    if found:
        return found
    known = [model.name for model in results.models(run.id)]
    if name.model in known:
        raise UsageError(f"{name.text} has no scores in run {run.id}: nothing was measured of it")
    from difflib import get_close_matches

    close = get_close_matches(name.model, known, n=1)
    advice = f"; did you mean {close[0]}?" if close else f"; there is {', '.join(known)}"
    raise UsageError(f"run {run.id} has no model or merge {name.model!r}{advice}")


def _insist_on_the_same_task(results: Results, runs: Sequence[Run], measure: Measure) -> None:
    found = {task.fingerprint: run.id for run in runs for task in results.tasks(run.id) if task.name == measure.task}
    if len(found) > 1:
        first, second, *_ = found.values()
        raise CompatError(
            f"the task {measure.task} has other examples in run {first} than in run {second}: there are no pairs"
        )


def _insist_on_settings(
    where: Mapping[str, Any], points: Sequence[Point], scores: Sequence[Sequence[FoundScore]]
) -> None:
    swept = {name for own in scores for score in own for name in score.parameters} | {"step", "at"}
    for name in where:
        if name not in swept:
            there = ", ".join(sorted(swept - {"at"}))
            raise UsageError(f"none of {', '.join(point.model for point in points)} sweeps {name}; they sweep {there}")


def _notes(points: Sequence[Point], labels: Sequence[str]) -> list[str]:
    picked = [f"{label} of {point.best_of}" for point, label in zip(points, labels, strict=True) if point.best_of > 1]
    if not picked:
        return []
    return [
        f"Chosen as best on these very examples: {', '.join(picked)} points. That flatters them: their lead is partly "
        "luck, which neither interval nor p-value knows of. Name the points, or choose them on another split."
    ]
