"""How good each model and merge is at its best: dots with intervals, the best first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from compat_spec.report.data.gathered import LOWER_IS_BETTER, Gathered, Target
from compat_spec.report.figures import parts
from compat_spec.report.figures.figure import Figure, Row
from compat_spec.report.leaderboard import standings
from compat_spec.report.wording import counted, label, listed, name, number, settings_in_words

MOST_MERGES = 40
MOST_TARGETS = 6


def figures(data: Gathered) -> Iterator[Figure]:
    for target in data.targets[:MOST_TARGETS]:
        quantities = data.quantities(target)
        for quantity in quantities:
            if quantity == "perplexity" and "loss" in quantities:
                continue  # the same in another unit
            rows = score_rows(data, target, quantity)
            shown = _shown(rows)
            if len(shown) > 1:
                yield _figure(target, quantity, rows, shown)


def score_rows(data: Gathered, target: Target, quantity: str) -> list[dict[str, Any]]:
    """Each model and merge at its best point, the best first."""
    means = [mean for mean in data.of_target(target) if mean.quantity == quantity]
    rows = []
    for standing in standings(means, quantity):
        interval = data.sureness.interval(target, quantity, standing.model, standing.best)
        if interval is None:
            continue
        where = settings_in_words(standing.settings)
        rows.append(
            {
                "model": standing.model,
                "role": standing.role,
                "where": where,
                "label": f"{standing.model} ({where})" if where else standing.model,
                "value": interval.mean if interval.is_number else None,
                "low": interval.low,
                "high": interval.high,
                "seeds": interval.seeds,
                "over": interval.over,
                "points": standing.points,
            }
        )
    return rows


def _shown(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those with a number: all references, and the best merges."""
    merges = [row["model"] for row in rows if row["role"] == "merge"][:MOST_MERGES]
    return [row for row in rows if row["value"] is not None and (row["role"] != "merge" or row["model"] in merges)]


def _figure(target: Target, quantity: str, every: Sequence[Row], rows: Sequence[Row]) -> Figure:
    task, split = target
    best, last = rows[0], rows[-1]
    merges = [row for row in rows if row["role"] == "merge"]
    summary = f"Best: {best['label']} with {number(best['value'])}; last: {last['label']} with {number(last['value'])}."
    if merges and merges[0] is not best:
        summary += f" The best merge is {merges[0]['label']} with {number(merges[0]['value'])}."
    direction = "left" if quantity in LOWER_IS_BETTER else "right"
    over = listed(dict.fromkeys(row["over"] for row in rows if row["over"]), 2)
    spread = f" Lines are 95 % confidence intervals over {over}." if over else ""
    return Figure(
        name=f"{quantity}-{task}",
        title=f"{name(quantity).capitalize()} of each model and merge on {task} ({split} split)",
        caption=f"Each at the best point of its sweeps; further to the {direction} is better.{spread} Dashed lines: "
        "the base, the best expert and direct fine-tuning, where there are any.",
        summary=summary,
        rows=rows,
        columns={
            "model": "model",
            "role": "role",
            "where": "best at",
            "value": name(quantity),
            "low": "low",
            "high": "high",
            "seeds": "seeds",
            "points": "points",
        },
        chart=_chart([{**row} for row in rows], quantity),
        left_out=_left_out(every, rows),
    )


def _left_out(every: Sequence[Row], rows: Sequence[Row]) -> str:
    nothing = [row["model"] for row in every if row["value"] is None]
    rest = len(every) - len(rows) - len(nothing)
    words = []
    if nothing:
        words.append(f"No number (NaN or infinite): {', '.join(nothing[:8])}{' …' * (len(nothing) > 8)}.")
    if rest:
        words.append(f"Left out: {counted(rest, 'merge')} that come after these {MOST_MERGES}.")
    return " ".join(words)


def _chart(rows: Sequence[Row], quantity: str) -> Any:
    present = [role for role in parts.ROLES if any(row["role"] == role for row in rows)]
    colour = alt.Color(
        "role:N",
        scale=alt.Scale(domain=list(parts.ROLES)),
        legend=parts.legend_below(values=present, symbolType="circle") if len(present) > 1 else None,
    )
    shape = alt.Shape(
        "role:N",
        scale=alt.Scale(domain=list(parts.ROLES), range=list(parts.ROLE_SHAPES)),
        legend=parts.legend_below(values=present) if len(present) > 1 else None,
    )
    ends = [row[key] for row in rows for key in ("low", "value", "high") if row[key] is not None]
    x_title = label(quantity)
    x = alt.X("value:Q", title=x_title, scale=parts.scale_of(ends))
    y = alt.Y("label:N", title=None, sort=[row["label"] for row in rows], axis=alt.Axis(grid=True, ticks=False))
    base = parts.chart(width=parts.WIDTH, height=22 * len(rows))
    references = {row["role"]: row["model"] for row in reversed(rows) if row["role"] != "merge"}
    lines = (
        parts.chart(width=parts.WIDTH)
        .transform_filter(alt.FieldOneOfPredicate(field="model", oneOf=list(references.values())))
        .mark_rule(strokeDash=[4, 3], opacity=0.55)
        .encode(x=x, color=colour)
    )
    spread = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=x_title), x2="high:Q", y=y, color=colour)
    dots = base.mark_point(size=80, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        shape=shape,
        tooltip=parts.tooltip(
            model="model", role="role", where="best at", value=name(quantity), low="from", high="to", seeds="seeds"
        ),
    )
    layers = [dots]
    if parts.has_intervals(rows):
        layers.insert(0, spread)
    if references:
        layers.insert(0, lines)
    return alt.layer(*layers)
