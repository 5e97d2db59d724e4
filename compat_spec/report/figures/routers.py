"""What routers do: who gets how much, in which block, for which tokens, how surely, and which blocks choose alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from compat_spec.report.data.gathered import Gathered
from compat_spec.report.data.routing import RoutingMean
from compat_spec.report.figures import parts
from compat_spec.report.figures.figure import Figure, Row
from compat_spec.report.wording import counted, number


def figures(data: Gathered) -> Iterator[Figure]:
    for task in dict.fromkeys(mean.task for mean in data.routing):
        own = [mean for mean in data.routing if mean.task == task]
        for make in (_load, _classes, _entropy, _agreement):
            if figure := make(task, own, data):
                yield figure


def _rows(means: Sequence[RoutingMean], data: Gathered) -> tuple[list[dict[str, Any]], list[str], str]:
    """Rows, their panels (a routed merge at a point each), and what was left out."""
    panels = list(dict.fromkeys(_panel(mean) for mean in means))
    kept = panels[: parts.MOST_PANELS]
    experts = {model.name: data.experts_of(model) for model in data.models}
    rows = [
        {
            "panel": _panel(mean),
            "block": mean.block,
            "other": mean.other_block,
            "expert": _expert(mean, experts.get(mean.merge, ())),
            "number": mean.expert,
            "class": mean.token_class,
            "value": mean.value,
            "seeds": mean.seeds,
        }
        for mean in means
        if _panel(mean) in kept
    ]
    left = len(panels) - len(kept)
    return rows, kept, f"Left out: {counted(left, 'more routed merge')}." if left else ""


def _panel(mean: RoutingMean) -> str:
    return f"{mean.merge} ({mean.settings})" if mean.settings else mean.merge


def _expert(mean: RoutingMean, experts: Sequence[str]) -> str:
    """Its number, and its name where the experts of a block are those of the merge and no others."""
    if mean.expert is None:
        return ""
    if mean.settings.startswith("span ") or mean.expert >= len(experts):
        return str(mean.expert)
    return f"{mean.expert} {experts[mean.expert]}"


def _load(task: str, own: Sequence[RoutingMean], data: Gathered) -> Figure | None:
    rows, panels, left_out = _rows([mean for mean in own if mean.quantity == "load"], data)
    known = [row for row in rows if row["value"] is not None]
    if not known:
        return None
    most = max(known, key=_value)
    return Figure(
        name=f"router-load-{task}",
        title=f"Load of each expert in each block, on {task}",
        caption="The mean probability that a block's router gives an expert, over tokens and seeds; each block adds up "
        "to 1. Bright: most of the output comes from this expert.",
        summary=f"Highest: expert {most['expert']} in block {most['block']} of {most['panel']} with "
        f"{number(most['value'])}. " + _evenness(known),
        rows=rows,
        columns={"panel": "merge", "block": "block", "expert": "expert", "value": "load"},
        chart=_heat(rows, panels, x=("expert:N", "expert"), y=("block:O", "block"), value="load", sort="number"),
        left_out=left_out,
    )


def _evenness(rows: Sequence[Row]) -> str:
    words = []
    for panel in list(dict.fromkeys(row["panel"] for row in rows))[:6]:
        own: dict[str, list[float]] = {}
        for row in rows:
            if row["panel"] == panel:
                own.setdefault(row["expert"], []).append(row["value"])
        means = {expert: sum(values) / len(values) for expert, values in own.items()}
        top = max(means, key=lambda expert: means[expert])
        words.append(f"{panel}: expert {top} has {number(means[top])} over all blocks")
    return "; ".join(words) + "."


def _classes(task: str, own: Sequence[RoutingMean], data: Gathered) -> Figure | None:
    rows, panels, left_out = _rows([mean for mean in own if mean.quantity == "class_load"], data)
    merged: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        merged.setdefault((row["panel"], row["class"], row["expert"]), []).append(row)
    rows = []
    for of in merged.values():
        known = [row["value"] for row in of if row["value"] is not None]
        rows.append({**of[0], "block": None, "value": sum(known) / len(known) if known else None})
    known_rows = [row for row in rows if row["value"] is not None]
    if not known_rows:
        return None
    most = max(known_rows, key=_value)
    return Figure(
        name=f"router-classes-{task}",
        title=f"Which tokens each expert gets, on {task}",
        caption="The mean load of an expert over the tokens of a class (prompt and answer, letters, digits …), and "
        "over blocks. Rows that differ show a router that tells these tokens apart.",
        summary=f"Highest: {number(most['value'])} for expert {most['expert']} of {most['panel']} on {most['class']}.",
        rows=rows,
        columns={"panel": "merge", "class": "tokens", "expert": "expert", "value": "load"},
        chart=_heat(rows, panels, x=("expert:N", "expert"), y=("class:N", "tokens"), value="load", sort="number"),
        left_out=left_out,
    )


def _agreement(task: str, own: Sequence[RoutingMean], data: Gathered) -> Figure | None:
    rows, panels, left_out = _rows([mean for mean in own if mean.quantity == "agreement"], data)
    known = [row for row in rows if row["value"] is not None and row["block"] != row["other"]]
    if not known:
        return None
    least, most = min(known, key=_value), max(known, key=_value)
    return Figure(
        name=f"router-agreement-{task}",
        title=f"Which blocks choose alike, on {task}",
        caption="The share of tokens for which two blocks find the same expert most probable.",
        summary=f"From {number(least['value'])} (blocks {least['block']} and {least['other']} of {least['panel']}) to "
        f"{number(most['value'])} (blocks {most['block']} and {most['other']} of {most['panel']}).",
        rows=rows,
        columns={"panel": "merge", "block": "block", "other": "other block", "value": "agreement"},
        chart=_heat(
            rows, panels, x=("other:O", "other block"), y=("block:O", "block"), value="agreement", sort="other"
        ),
        left_out=left_out,
    )


def _entropy(task: str, own: Sequence[RoutingMean], data: Gathered) -> Figure | None:
    rows, panels, left_out = _rows([mean for mean in own if mean.quantity == "entropy"], data)
    panels = panels[: parts.MOST_LINES]
    rows = [row for row in rows if row["panel"] in panels]
    known = [row for row in rows if row["value"] is not None]
    if not known:
        return None
    least, most = min(known, key=_value), max(known, key=_value)
    x = alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0))
    y = alt.Y("value:Q", title="entropy per token, nats")
    colour = alt.Color("panel:N", scale=alt.Scale(domain=panels), legend=parts.legend_below())
    base = parts.chart(width=parts.WIDTH, height=220)
    dots = base.mark_point(opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        shape=alt.Shape("panel:N", scale=parts.shape_of(panels), legend=parts.legend_below()),
        tooltip=parts.tooltip(panel="merge", block="block", value="entropy", seeds="seeds"),
    )
    low = f"{number(least['value'])} (block {least['block']} of {least['panel']})"
    high = f"{number(most['value'])} (block {most['block']} of {most['panel']})"
    return Figure(
        name=f"router-entropy-{task}",
        title=f"How surely each block's router chooses, on {task}",
        caption="0: all tokens go to one expert each. The logarithm of the number of experts (0.693 of two): evenly "
        "spread, as if there were no router.",
        summary=f"From {low} to {high}.",
        rows=rows,
        columns={"panel": "merge", "block": "block", "value": "entropy"},
        chart=alt.layer(base.mark_line().encode(x=x, y=y, color=colour), dots),
        left_out=left_out,
    )


def _value(row: Row) -> float:
    return float(row["value"])


def _heat(
    rows: Sequence[Row], panels: Sequence[str], *, x: tuple[str, str], y: tuple[str, str], value: str, sort: str
) -> Any:
    """Maps side by side, of 0 to 1. Each has its own axes: merges differ in their experts."""
    order = alt.EncodingSortField(field=sort, op="min", order="ascending")
    size = parts.panel_size(len(panels))
    field, of_words = y[0].partition(":")[0], y[0].endswith(":N")
    cells = len({row[field] for row in rows})
    height = 20 * cells if of_words else parts.whole_cells(size, cells)
    heat = (
        parts.chart(width=size, height=height)
        .mark_rect()
        .encode(
            x=alt.X(
                x[0],
                title=x[1],
                sort=order,
                axis=alt.Axis(labelAngle=0, labelLimit=70, labelOverlap="parity", ticks=False),
            ),
            y=alt.Y(y[0], title=y[1], axis=alt.Axis(ticks=False, labelOverlap="parity")),
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(domain=[0, 1]),
                legend=alt.Legend(title=value, orient="bottom", gradientLength=160),
            ),
            tooltip=parts.tooltip(panel="merge", **{x[0].partition(":")[0]: x[1], y[0].partition(":")[0]: y[1]})
            + parts.tooltip(value=value),
        )
    )
    if len(panels) < 2:
        return heat
    return heat.facet(
        alt.Facet("panel:N", title=None, sort=list(panels)), columns=parts.columns_of(len(panels))
    ).resolve_scale(x="independent")
