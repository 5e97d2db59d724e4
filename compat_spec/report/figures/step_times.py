"""What each kind of step cost, and when each step ran."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from compat_spec.report.data.gathered import Gathered
from compat_spec.report.figures import parts
from compat_spec.report.figures.figure import Figure
from compat_spec.report.wording import counted, duration
from compat_spec.results import StepRow

MOST_STEPS = 600


def figures(data: Gathered) -> Iterator[Figure]:
    if any(step.seconds for step in data.steps):
        yield _by_kind(data.steps)
    timed = [step for step in data.steps if step.status == "computed" and step.started and step.seconds is not None]
    if len(timed) > 1:
        yield _timeline(timed)


def _by_kind(steps: Sequence[StepRow]) -> Figure:
    totals: dict[tuple[str, str], tuple[int, float]] = {}
    for step in steps:
        spent = step.seconds if step.seconds is not None else _spent_before(step)
        count, seconds = totals.get((step.kind, step.status), (0, 0.0))
        totals[step.kind, step.status] = count + 1, seconds + spent
    rows: list[dict[str, Any]] = [
        {"kind": kind, "status": status, "steps": count, "seconds": seconds}
        for (kind, status), (count, seconds) in sorted(totals.items(), key=lambda item: -item[1][1])
    ]
    most = rows[0]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    statuses = ["computed", "reused", "failed", "skipped"]
    present = [status for status in statuses if any(row["status"] == status for row in rows)]
    chart = (
        parts.chart(width=parts.WIDTH, height=24 * len(kinds))
        .mark_bar()
        .encode(
            x=alt.X("seconds:Q", title="time of all steps of a kind, seconds"),
            y=alt.Y("kind:N", title=None, sort=kinds, axis=alt.Axis(ticks=False)),
            color=alt.Color("status:N", scale=alt.Scale(domain=statuses), legend=parts.legend_below(values=present)),
            tooltip=parts.tooltip(kind="kind", status="status", steps="steps", seconds="seconds"),
        )
    )
    return Figure(
        name="time-by-kind",
        title="Time of the steps, by kind",
        caption="Steps that ran side by side are added up. What was reused cost nothing now: its bar is what it took "
        "the run that computed it, where that is known.",
        summary=f"Most went into {most['kind']}: {duration(most['seconds'])} in {counted(most['steps'], 'step')}.",
        rows=rows,
        columns={"kind": "kind", "status": "status", "steps": "steps", "seconds": "seconds"},
        chart=chart,
    )


def _spent_before(step: StepRow) -> float:
    spent: Any = step.facts.get("seconds")
    return float(spent) if parts.is_number(spent) else 0.0


def _timeline(steps: Sequence[StepRow]) -> Figure:
    longest = sorted(steps, key=lambda step: -(step.seconds or 0))[:MOST_STEPS]
    begin = min(step.started for step in steps if step.started)
    rows: list[dict[str, Any]] = []
    for step in longest:
        assert step.started is not None
        assert step.seconds is not None
        start = (step.started - begin).total_seconds()
        place = " ".join(filter(None, (step.host, step.device))) or "unknown"
        row: dict[str, Any] = {
            "step": step.label,
            "kind": step.kind,
            "place": place,
            "start": start,
            "end": start + step.seconds,
        }
        rows.append({**row, "seconds": step.seconds})
    rows.sort(key=lambda row: row["start"])
    _give_lanes(rows)
    total = max(row["end"] for row in rows)
    several = len({row["place"] for row in rows}) > 1
    minutes = total > 300
    for row in rows:
        row["from"], row["to"] = (row["start"] / 60, row["end"] / 60) if minutes else (row["start"], row["end"])
        row["lane"] = f"{row['place']}, {row['lane']}" if several else str(row["lane"])
    lanes = list(dict.fromkeys(row["lane"] for row in rows))
    chart = (
        parts.chart(width=parts.WIDTH, height=22 * len(lanes))
        .mark_bar(height=16, cornerRadius=1)
        .encode(
            x=alt.X("from:Q", title=f"since the first step began, {'minutes' if minutes else 'seconds'}"),
            x2="to:Q",
            y=alt.Y("lane:N", title="side by side", sort=lanes),
            color=alt.Color("kind:N", legend=parts.legend_below()),
            tooltip=parts.tooltip(step="step", kind="kind", place="on", seconds="seconds"),
        )
    )
    at_once = "one at a time" if len(lanes) == 1 else f"up to {len(lanes)} at once"
    return Figure(
        name="timeline",
        title="When each step ran",
        caption="Each bar is a step; steps in different rows ran at the same time.",
        summary=f"{counted(len(steps), 'step')} in {duration(total)}, {at_once}. The longest: {longest[0].label}, "
        f"{duration(longest[0].seconds)}.",
        rows=rows,
        columns={"step": "step", "kind": "kind", "place": "on", "start": "began at, s", "seconds": "seconds"},
        chart=chart,
        left_out=f"The longest {MOST_STEPS} of {len(steps):,} steps are shown." if len(steps) > MOST_STEPS else "",
    )


def _give_lanes(rows: Sequence[dict[str, Any]]) -> None:
    """To each step the first lane of its place that is free when it begins."""
    running: dict[str, list[tuple[float, int]]] = {}
    free: dict[str, list[int]] = {}
    for row in rows:
        busy, idle = running.setdefault(row["place"], []), free.setdefault(row["place"], [])
        while busy and busy[0][0] <= row["start"] + 0.05:
            heapq.heappush(idle, heapq.heappop(busy)[1])
        lane = heapq.heappop(idle) if idle else len(busy) + 1
        row["lane"] = lane
        heapq.heappush(busy, (row["end"], lane))
