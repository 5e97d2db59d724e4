"""What a run found on one task, in a few sentences."""

from __future__ import annotations

from compat_spec.report.data.intervals import Interval
from compat_spec.report.leaderboard import Standing
from compat_spec.report.page.judge import Judge, named
from compat_spec.report.wording import UNITS, counted, listed, name, with_interval

REFERENCES = {"base": "the base", "expert": "the best expert", "fine-tuned": "direct fine-tuning"}


def sentences(judge: Judge) -> list[str]:
    """The best merge, how it compares with what it was made of and with fine-tuning, and who comes next."""
    what = f"the {'lowest' if judge.lower_is_better else 'highest'} {name(judge.quantity)}"
    if not judge.known:
        return [f"No model has a number for {name(judge.quantity)}."]
    if not judge.merges:
        best = judge.known[0]
        models = counted(len(judge.known), "model")
        return [f"No merge was measured. Of {models}, {named(best)} has {what}: {_told(judge, best)}."]
    best, *others = judge.merges
    if others:
        told = [f"Of {counted(len(judge.merges), 'merge')}, {named(best)} has {what}: {_told(judge, best)}."]
    else:
        told = [f"The merge {named(best)} has a {name(judge.quantity)} of {_told(judge, best)}."]
    compared, unsure = [], []
    for role, words in REFERENCES.items():
        other = next((standing for standing in judge.known if standing.role == role), None)
        if other is not None:
            which = "" if other.model == role else f" ({other.model})"
            difference = judge.difference(best, other)
            compared.append(f"{_distance(difference)} {words}{which}")
            unsure += [words] if difference.may_be_zero else []
    if compared:
        told.append(f"That is {listed(compared)}.")
    if unsure:
        told.append(f"Its distance from {listed(unsure)} may be chance: the interval holds 0.")
    if others:
        told.append(_next(judge, best, others[0]))
    if more := [named(rival) for rival in judge.rivals if rival is not others[0]]:
        nor = "Nor can it" if others[0] in judge.rivals else "It cannot"
        told.append(f"{nor} be told from {counted(len(more), 'other merge')}: {listed(more)}.")
    return told


def _told(judge: Judge, standing: Standing) -> str:
    unit = f" {UNITS[judge.quantity]}" if judge.quantity in UNITS else ""
    return with_interval(judge.interval(standing)) + unit


def _next(judge: Judge, best: Standing, second: Standing) -> str:
    difference = judge.difference(second, best)
    if difference.low is None or difference.high is None:
        return f"Next comes {named(second)} with {with_interval(judge.interval(second))}."
    doubt = ": too little to say which of the two is better" if difference.may_be_zero else ""
    return f"Next comes {named(second)}, {_distance(difference)} it{doubt}."


def _distance(difference: Interval) -> str:
    """`0.241 [0.212, 0.270] below`."""
    if difference.mean > 0:
        return f"{with_interval(difference)} above"
    return f"{with_interval(-difference)} below"
