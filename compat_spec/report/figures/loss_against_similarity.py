"""Whether experts that are more alike merge better: each merge at each point against the similarity of its experts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from compat_spec.report.data.gathered import Gathered, Target
from compat_spec.report.data.points import points
from compat_spec.report.data.similarities import Diagonal
from compat_spec.report.figures import parts
from compat_spec.report.figures.figure import Figure, Row
from compat_spec.report.wording import counted, label, listed, name, number, settings_in_words

MOST_POINTS = 2_000
LEAST_STEPS = 5
"""Of fewer, a rank correlation says nothing."""

Pair = frozenset[str]


def figures(data: Gathered) -> Iterator[Figure]:
    for quantity in dict.fromkeys(one.compared.quantity for one in data.diagonals):
        for target in data.targets:
            own = [one for one in data.diagonals_on(target[0]) if one.compared.quantity == quantity]
            alike = _by_pair(own)
            rows = scatter_rows(data, target, alike)
            if (
                len({(row["similarity"], row["loss"]) for row in rows}) > 2
                and len({row["similarity"] for row in rows}) > 1
            ):
                yield _figure(target, quantity, rows, {one.compared.task for one in own})


def _by_pair(diagonals: Sequence[Diagonal]) -> dict[Pair, dict[int | None, float]]:
    """The mean similarity of equal layers of two models at each step, over layers, seeds and metrics.

    A step at which one of them is no number has none.
    """
    values: dict[Pair, dict[int | None, list[float | None]]] = {}
    for one in diagonals:
        if one.step_a == one.step_b and one.compared.a != one.compared.b:
            pair = frozenset((one.compared.a, one.compared.b))
            values.setdefault(pair, {}).setdefault(one.step_a, []).append(one.value)
    return {
        pair: {
            step: sum(known) / len(known)
            for step, of in steps.items()
            if len(known := [value for value in of if value is not None]) == len(of)
        }
        for pair, steps in values.items()
    }


def scatter_rows(
    data: Gathered, target: Target, alike: Mapping[Pair, Mapping[int | None, float]]
) -> list[dict[str, Any]]:
    """The points of all merges whose experts were compared at the same step; several pairs of experts are averaged."""
    experts = {model.name: data.experts_of(model) for model in data.models}
    means = [mean for mean in data.of_target(target) if mean.quantity == "loss" and mean.role == "merge"]
    rows = []
    for point in points(means):
        interval = point.interval
        own = [
            steps[point.step]
            for pair, steps in alike.items()
            if pair <= set(experts.get(point.model, ())) and point.step in steps
        ]
        if own and interval.is_number:
            rows.append(
                {
                    "merge": point.model,
                    "where": settings_in_words(point.settings),
                    "step": point.step,
                    "similarity": sum(own) / len(own),
                    "loss": interval.mean,
                    "seeds": interval.seeds,
                }
            )
    return rows


def _figure(target: Target, quantity: str, every: list[dict[str, Any]], alike_on: Collection[str]) -> Figure:
    task, split = target
    merges = list(dict.fromkeys(row["merge"] for row in sorted(every, key=lambda row: float(row["loss"]))))
    kept = merges[: parts.MOST_LINES]
    rows = [row for row in every if row["merge"] in kept][:MOST_POINTS]
    left = len(every) - len(rows)
    where = "" if task in alike_on else f" (on {listed(sorted(alike_on))})"
    return Figure(
        name=f"loss-against-{quantity}-{task}",
        title=f"Loss against the {name(quantity)} of the experts, on {task} ({split} split)",
        caption=f"Each mark is a merge at one point of its sweeps, against the mean {name(quantity)} of equal "
        f"layers of its experts at the same step{where}. Steps differ in more than similarity: this shows what "
        "goes together, and not what causes what.",
        summary=_summary(rows, name(quantity)),
        rows=rows,
        columns={"merge": "merge", "where": "at", "similarity": name(quantity), "loss": "loss", "seeds": "seeds"},
        chart=_chart(rows, kept, quantity),
        left_out=f"Left out: {counted(left, 'point')}." if left else "",
    )


def _summary(rows: Sequence[Row], what: str) -> str:
    best = min(rows, key=lambda row: float(row["loss"]))
    words = (
        f"{counted(len(rows), 'point')}; lowest loss {number(best['loss'])} ({best['merge']}, {best['where']}) at a "
        f"{what} of {number(best['similarity'])}."
    )
    correlations = _correlations(rows)
    if correlations:
        told = listed(f"{merge} {number(rho)} ({steps} steps)" for merge, (rho, steps) in correlations.items())
        words += f" Spearman's rank correlation of {what} and the best loss of a step: {told}."
    return words


def _correlations(rows: Sequence[Row]) -> dict[str, tuple[float, int]]:
    """For each merge with enough steps. Over merges it would say how they differ, and not what similarity does."""
    found = {}
    for merge in dict.fromkeys(row["merge"] for row in rows):
        best: dict[float, float] = {}
        for row in rows:
            if row["merge"] == merge:
                best[row["similarity"]] = min(row["loss"], best.get(row["similarity"], math.inf))
        if len(best) >= LEAST_STEPS and not math.isnan(rho := rank_correlation(list(best), list(best.values()))):
            found[merge] = (rho, len(best))
    return found


def rank_correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Spearman's rho; ties have their mean rank. NaN where one of the two is constant."""
    import numpy as np
    from scipy.stats import rankdata

    a, b = rankdata(xs), rankdata(ys)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else math.nan


def _chart(rows: Sequence[Row], merges: Sequence[str], quantity: str) -> Any:
    tooltip = parts.tooltip(merge="merge", where="at", similarity=name(quantity), loss="loss", seeds="seeds")
    return (
        parts.chart(width=parts.WIDTH, height=parts.HEIGHT + 40)
        .mark_point(size=70, opacity=0.85)
        .encode(
            x=alt.X(
                "similarity:Q",
                title=f"mean {name(quantity)} of equal layers of the experts",
                scale=alt.Scale(zero=False),
            ),
            y=alt.Y("loss:Q", title=label("loss"), scale=parts.scale_of([row["loss"] for row in rows])),
            color=alt.Color("merge:N", scale=alt.Scale(domain=list(merges)), legend=parts.legend_below()),
            shape=alt.Shape("merge:N", scale=parts.shape_of(merges), legend=parts.legend_below()),
            tooltip=tooltip,
        )
    )
