"""How merging and similarity go as experts specialise: the best loss above, similarity below, on the same steps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from compat_spec.report.data.gathered import Gathered, Target
from compat_spec.report.data.intervals import over_seeds
from compat_spec.report.data.points import best_by_step, critical_steps
from compat_spec.report.data.similarities import Diagonal
from compat_spec.report.figures import parts
from compat_spec.report.figures.figure import Figure, Row
from compat_spec.report.figures.turns import rises
from compat_spec.report.wording import counted, label, listed, name, number

PREFERRED = "cka"
STEPS = "steps of fine-tuning"


def figures(data: Gathered) -> Iterator[Figure]:
    for target in data.targets:
        losses = _loss_rows(data, target)
        alike = _similarity_rows(_similarities(data, target[0]))
        if losses and any(row["role"] == "merge" for row in losses):
            yield _figure(data, target, losses, alike)
    tasks = {task for task, _ in data.targets}
    rest = [one for one in data.diagonals if one.compared.task not in tasks]
    for task in dict.fromkeys(one.compared.task for one in rest):
        if alike := _similarity_rows(_similarities(data, task)):
            yield _only_similarity(task, alike)


def _loss_rows(data: Gathered, target: Target) -> list[dict[str, Any]]:
    """The curve of each model with several steps, its lowest point, and at which steps its seeds have theirs."""
    means = [mean for mean in data.of_target(target) if mean.quantity == "loss"]
    roles = {mean.model: mean.role for mean in means}
    rows = []
    for model, of_model in best_by_step(means).items():
        if len(of_model) < 2:
            continue
        about = {"series": model, "role": roles[model]}
        curve = [_row("loss", step, by_seed) | about for step, by_seed in sorted(of_model.items())]
        known = [row for row in curve if row["value"] is not None]
        if known:
            min(known, key=lambda row: float(row["value"]))["lowest"] = True
        turns = critical_steps(of_model)
        seeds = Counter(step for step, _ in turns.values())
        rows += curve
        rows += [
            {"panel": "turn", "step": step, "value": count, "of": len(turns)} | about
            for step, count in sorted(seeds.items())
        ]
    return rows


def _row(panel: str, step: int, by_seed: Mapping[int, float | None]) -> dict[str, Any]:
    interval = over_seeds(by_seed.values())
    value = interval.mean if interval.is_number else None
    return {"panel": panel, "step": step, "value": value, "low": interval.low, "high": interval.high}


def _similarities(data: Gathered, task: str) -> list[Diagonal]:
    """Those on the task or, where there are none, on any; CKA where there is CKA."""
    own = data.diagonals_on(task)
    quantities = [one.compared.quantity for one in own]
    quantity = PREFERRED if PREFERRED in quantities else quantities[0] if quantities else ""
    return [one for one in own if one.compared.quantity == quantity]


def _similarity_rows(diagonals: Sequence[Diagonal]) -> list[dict[str, Any]]:
    by_series: dict[str, dict[int, dict[int, float | None]]] = {}
    quantities: dict[str, str] = {}
    for one in diagonals:
        if one.step_a is not None and one.step_a == one.step_b:
            series = _series(one, diagonals)
            quantities[series] = one.compared.quantity
            by_series.setdefault(series, {}).setdefault(one.step_a, {})[one.seed] = one.value
    rows = []
    for series, of_series in by_series.items():
        if len(of_series) > 1:
            about = {"series": series, "quantity": quantities[series]}
            rows += [_row("similarity", step, by_seed) | about for step, by_seed in sorted(of_series.items())]
    return rows


def _series(one: Diagonal, among: Sequence[Diagonal]) -> str:
    pair = f"{one.compared.a} and {one.compared.b}"
    alone = len({(other.compared.metric, other.compared.settings, other.compared.task) for other in among}) == 1
    return pair if alone else str(one.compared)


def _figure(data: Gathered, target: Target, losses: list[dict[str, Any]], alike: list[dict[str, Any]]) -> Figure:
    task, split = target
    ranked = sorted({row["series"] for row in losses}, key=lambda model: _lowest(losses, model))
    merges = [model for model in ranked if _role(losses, model) == "merge"]
    kept = merges[: parts.MOST_LINES]
    kept += [model for model in ranked if model not in merges][: parts.MOST_LINES - min(len(kept), 6)]
    series = list(dict.fromkeys(row["series"] for row in alike))
    rows = [row for row in losses if row["series"] in kept]
    rows += [row for row in alike if row["series"] in series[: parts.MOST_LINES]]
    left = len(ranked) - len(kept) + max(0, len(series) - parts.MOST_LINES)
    quantity = alike[0]["quantity"] if alike else ""
    curves = best_by_step(mean for mean in data.of_target(target) if mean.quantity == "loss")
    tasks = {one.compared.task for one in data.diagonals_on(task)}
    where = "" if task in tasks else f" on {listed(sorted(tasks))}"
    below = f" Below: {name(quantity)} of equal layers of the experts{where}, a mean over layers." if alike else ""
    return Figure(
        name=f"steps-{task}",
        title=f"Best loss{f' and {name(quantity)}' if alike else ''} over the steps of fine-tuning, on {task} "
        f"({split} split)",
        caption=f"Above: the loss at the best point of whatever else is swept.{below} The critical step is where a "
        "loss is lowest, ringed for the mean and dotted for each seed. Where the loss rises beyond it by more than "
        "chance, experts that are more specialised merge worse. Bands are 95 % confidence intervals over seeds.",
        summary=" ".join(
            filter(None, (_turns(rows, kept), rises(curves, [model for model in kept if model in merges]), _fall(rows)))
        ),
        rows=rows,
        columns={"panel": "what", "series": "of", "step": "step", "value": "value", "low": "low", "high": "high"},
        chart=_chart(rows, kept, series[: parts.MOST_LINES], quantity),
        left_out=f"Left out: {counted(left, 'line')}." if left else "",
    )


def _only_similarity(task: str, alike: list[dict[str, Any]]) -> Figure:
    series = list(dict.fromkeys(row["series"] for row in alike))[: parts.MOST_LINES]
    rows = [row for row in alike if row["series"] in series]
    quantity = rows[0]["quantity"]
    return Figure(
        name=f"similarity-steps-{task}",
        title=f"{name(quantity)} over the steps of fine-tuning, on {task}",
        caption="Of equal layers, a mean over layers. Bands are 95 % confidence intervals over seeds.",
        summary=_fall(rows),
        rows=rows,
        columns={"series": "of", "step": "step", "value": name(quantity), "low": "low", "high": "high"},
        chart=_lines(rows, "similarity", series, name(quantity), _scale(rows)),
    )


def _role(rows: Sequence[Row], model: str) -> str:
    return next(str(row["role"]) for row in rows if row["series"] == model)


def _lowest(rows: Sequence[Row], model: str) -> float:
    values = [row["value"] for row in rows if row["series"] == model and row["panel"] == "loss"]
    return min((value for value in values if value is not None), default=math.inf)


def _turns(rows: Sequence[Row], models: Sequence[str]) -> str:
    words = []
    for model in models:
        turns = [row for row in rows if row["panel"] == "turn" and row["series"] == model]
        if turns and _role(rows, model) == "merge":
            steps = [f"{row['step']} ({row['value']} of {row['of']} seeds)" for row in turns]
            words.append(f"{model} at step {listed(steps)}")
    return f"Critical steps: {'; '.join(words)}." if words else ""


def _fall(rows: Sequence[Row]) -> str:
    words = []
    for series in dict.fromkeys(row["series"] for row in rows if row["panel"] == "similarity"):
        own = [row for row in rows if row["panel"] == "similarity" and row["series"] == series]
        words.append(
            f"{series} from {number(own[0]['value'])} at step {own[0]['step']} to {number(own[-1]['value'])} at step "
            f"{own[-1]['step']}"
        )
    return f"Similarity of {'; '.join(words)}." if words else ""


def _scale(rows: Sequence[Row]) -> alt.Scale:
    """The same for all views, so that steps are above each other."""
    steps = [row["step"] for row in rows]
    return parts.spaced(steps, domain=[min(steps), max(steps)], padding=12)


def _chart(rows: Sequence[Row], models: Sequence[str], series: Sequence[str], quantity: str) -> Any:
    scale = _scale(rows)
    loss = _lines(rows, "loss", models, f"best {label('loss')}", scale)
    lowest = (
        parts.chart()
        .transform_filter("datum.panel === 'loss' && datum.lowest")
        .mark_point(size=190, filled=False, strokeWidth=1.8)
        .encode(
            x=alt.X("step:Q", scale=scale),
            y=alt.Y("value:Q", scale=alt.Scale(zero=False)),
            color=alt.Color("series:N", scale=alt.Scale(domain=list(models))),
        )
    )
    views = [alt.layer(loss, lowest), _turn_strip(rows, models, scale)]
    if series:
        views.append(_lines(rows, "similarity", series, name(quantity), scale, height=150))
    return alt.vconcat(*views, spacing=20).resolve_scale(
        color="independent", shape="independent", size="independent", strokeDash="independent"
    )


def _turn_strip(rows: Sequence[Row], models: Sequence[str], scale: alt.Scale) -> Any:
    """At which step how many seeds have their lowest loss."""
    shown = [model for model in models if any(row["panel"] == "turn" and row["series"] == model for row in rows)]
    most = max((row["of"] for row in rows if row["panel"] == "turn"), default=1)
    steps = sorted({row["step"] for row in rows})
    return (
        parts.chart(width=parts.WIDTH, height=20 * len(shown))
        .transform_filter(alt.FieldEqualPredicate(field="panel", equal="turn"))
        .mark_circle(opacity=1)
        .encode(
            x=alt.X(
                "step:Q",
                title="critical step (larger: of more seeds)",
                scale=scale,
                axis=alt.Axis(values=_ticks(steps)),
            ),
            y=alt.Y("series:N", title=None, sort=list(shown), axis=alt.Axis(grid=True, ticks=False, labelLimit=140)),
            size=alt.Size("value:Q", scale=alt.Scale(domain=[0, most], range=[0, 200]), legend=None),
            color=alt.Color("series:N", scale=alt.Scale(domain=list(models)), legend=None),
            tooltip=parts.tooltip(series="lowest loss of", step="at step", value="seeds", of="of"),
        )
    )


def _lines(
    rows: Sequence[Row],
    panel: str,
    series: Sequence[str],
    title: str,
    scale: alt.Scale,
    height: int = parts.HEIGHT,
) -> Any:
    steps = sorted({row["step"] for row in rows})
    x = alt.X("step:Q", title=STEPS, scale=scale, axis=alt.Axis(values=_ticks(steps), labelOverlap=True))
    y_scale = parts.scale_of([row["value"] for row in rows if row["panel"] == panel and row["value"] is not None])
    colour = alt.Color("series:N", scale=alt.Scale(domain=list(series)), legend=parts.legend_below())
    shape = alt.Shape("series:N", scale=parts.shape_of(series), legend=parts.legend_below())
    base = parts.chart(width=parts.WIDTH, height=height).transform_filter(
        alt.FieldEqualPredicate(field="panel", equal=panel)
    )
    band = base.mark_area(opacity=0.15 if len(series) < 4 else 0.08).encode(
        x=x, y=alt.Y("low:Q", title=title, scale=y_scale), y2="high:Q", color=colour
    )
    y = alt.Y("value:Q", title=title, scale=y_scale)
    line = base.mark_line().encode(x=x, y=y, color=colour)
    dots = base.mark_point(size=55, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        shape=shape,
        tooltip=parts.tooltip(series="of", step="step", value=title, low="from", high="to"),
    )
    own = [row for row in rows if row["panel"] == panel]
    return alt.layer(band, line, dots) if parts.has_intervals(own) else alt.layer(line, dots)


def _ticks(steps: Sequence[int]) -> list[int]:
    every = -(-len(steps) // 12)
    return sorted({*steps[::every], steps[-1]})
