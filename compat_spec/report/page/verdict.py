"""What a run found, in words and as a table, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compat_spec.report.data.gathered import LOWER_IS_BETTER, Gathered, Target
from compat_spec.report.data.intervals import Interval, over_seeds
from compat_spec.report.leaderboard import Standing, standings
from compat_spec.report.wording import UNITS, counted, listed, name, settings_in_words, with_interval

if TYPE_CHECKING:
    from compat_spec.results import SeedMean

MOST_MERGES = 10
"""In the table that is open; all are in the one below it."""

REFERENCES = {"base": "the base", "expert": "the best expert", "fine-tuned": "direct fine-tuning"}


@dataclass(frozen=True, slots=True)
class Line:
    """One model or merge at its best point."""

    model: str
    role: str
    where: str
    cells: tuple[Interval | None, ...]
    seeds: int
    place: int | None
    """Among merges."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found on one task."""

    task: str
    split: str
    quantities: tuple[str, ...]
    sentences: tuple[str, ...]
    doubts: tuple[str, ...]
    lines: tuple[Line, ...]
    all_lines: tuple[Line, ...]

    @property
    def has_merges(self) -> bool:
        return any(line.role == "merge" for line in self.all_lines)


def verdicts(data: Gathered) -> list[Verdict]:
    """One for each task with scores, those on which most merges were measured first."""
    return [_verdict(data, target) for target in data.targets]


def _verdict(data: Gathered, target: Target) -> Verdict:
    quantities = data.quantities(target)
    means = data.of_target(target)
    ranked = standings(means, quantities[0])
    lines = _lines(ranked, quantities)
    few = [line.model for line in lines if line.role == "merge"][:MOST_MERGES]
    return Verdict(
        task=target[0],
        split=target[1],
        quantities=tuple(quantities),
        sentences=tuple(_sentences(ranked, quantities[0])),
        doubts=tuple(_doubts(ranked, means, quantities[0])),
        lines=tuple(line for line in lines if line.role != "merge" or line.model in few),
        all_lines=tuple(lines),
    )


def _lines(ranked: Sequence[Standing], quantities: Sequence[str]) -> list[Line]:
    lines, place = [], 0
    for standing in ranked:
        ranks = standing.role == "merge" and _interval(standing, quantities[0]).is_number
        place += ranks
        values = [standing.best.values.get(quantity) for quantity in quantities]
        lines.append(
            Line(
                model=standing.model,
                role=standing.role,
                where=settings_in_words(standing.settings),
                cells=tuple(over_seeds(of.values()) if of else None for of in values),
                seeds=standing.best.seeds(quantities[0]),
                place=place if ranks else None,
            )
        )
    return lines


def _sentences(ranked: Sequence[Standing], quantity: str) -> list[str]:
    known = [standing for standing in ranked if _interval(standing, quantity).is_number]
    merges = [standing for standing in known if standing.role == "merge"]
    what = "lowest" if quantity in LOWER_IS_BETTER else "highest"
    unit = f" {UNITS[quantity]}" if quantity in UNITS else ""
    if not merges:
        if not known:
            return [f"No model has a number for {name(quantity)}."]
        best = known[0]
        return [
            f"No merge was measured. Of {counted(len(known), 'model')}, {_named(best)} has the {what} "
            f"{name(quantity)}: {with_interval(_interval(best, quantity))}{unit}."
        ]
    best = merges[0]
    of = f"Of {counted(len(merges), 'merge')}, {_named(best)} has the {what} {name(quantity)}"
    first = f"{of if len(merges) > 1 else f'The merge {_named(best)} has the {name(quantity)}'}: "
    sentences = [f"{first}{with_interval(_interval(best, quantity))}{unit}."]
    compared = []
    for role, words in REFERENCES.items():
        other = next((standing for standing in known if standing.role == role), None)
        if other is not None:
            which = "" if other.model == role else f" ({other.model})"
            compared.append(f"{_difference(best, other, quantity)} {words}{which}")
    if compared:
        sentences.append(f"That is {listed(compared)}.")
    if len(merges) > 1:
        sentences.append(_runner_up(best, merges[1], quantity))
    return sentences


def _runner_up(best: Standing, second: Standing, quantity: str) -> str:
    difference = _paired(best, second, quantity)
    if difference is None or difference.low is None or difference.high is None:
        return f"Next comes {_named(second)} with {with_interval(_interval(second, quantity))}."
    clear = difference.low > 0 or difference.high < 0
    told = f"Next comes {_named(second)}, {_difference(best, second, quantity, flipped=True)} it"
    return f"{told}." if clear else f"{told}: too little to say which of the two is better."


def _difference(best: Standing, other: Standing, quantity: str, *, flipped: bool = False) -> str:
    """`0.241 [0.212, 0.270] below`; seed by seed where both have the same seeds."""
    difference = _paired(best, other, quantity)
    if difference is None:
        difference = Interval(_interval(best, quantity).mean - _interval(other, quantity).mean, None, None, seeds=0)
    if flipped:
        difference = _negative(difference)
    word = "above" if difference.mean > 0 else "below"
    return f"{with_interval(difference if difference.mean > 0 else _negative(difference))} {word}"


def _negative(interval: Interval) -> Interval:
    ends = (None, None) if interval.low is None or interval.high is None else (-interval.high, -interval.low)
    return Interval(-interval.mean, ends[0], ends[1], interval.seeds)


def _paired(a: Standing, b: Standing, quantity: str) -> Interval | None:
    """The difference seed by seed, which leaves out what all models of a seed have in common."""
    of_a, of_b = a.best.values[quantity], b.best.values[quantity]
    if of_a.keys() != of_b.keys():
        return None
    pairs = [(of_a[seed], of_b[seed]) for seed in of_a]
    return over_seeds(None if x is None or y is None else x - y for x, y in pairs)


def _doubts(ranked: Sequence[Standing], means: Sequence[SeedMean], quantity: str) -> list[str]:
    seeds = len({mean.seed for mean in means})
    doubts = []
    if seeds == 1:
        doubts.append(
            "One seed: there is no interval over seeds, and a small difference may be chance. More seeds tell: "
            "--set 'seeds=[0,1,2]'."
        )
    elif seeds < 5:
        doubts.append(
            f"{seeds} seeds: intervals (Student's t) are wide, and each is right 95 times in 100 only if seeds scatter "
            "normally."
        )
    chosen = [standing for standing in ranked if standing.points > 1 and standing.role == "merge"]
    if chosen:
        most = max(chosen, key=lambda standing: standing.points)
        doubts.append(
            f"The best point of a sweep was chosen on the split that it is scored on, which flatters merges with many "
            f"points ({most.model}: {most.points})."
        )
    merges = sum(standing.role == "merge" for standing in ranked)
    if merges > MOST_MERGES:
        doubts.append(
            f"The best of {merges} merges is partly the luckiest: measured again, on other seeds, it would look "
            "a little worse."
        )
    lacking = [standing.model for standing in ranked if standing.best.seeds(quantity) < seeds]
    if lacking:
        doubts.append(f"Not on all {seeds} seeds: {listed(lacking)}.")
    if missing := [
        standing.model
        for standing in ranked
        if standing.best.seeds(quantity) and not _interval(standing, quantity).is_number
    ]:
        doubts.append(f"No number (NaN or infinite, at every point or for some seed): {listed(missing)}.")
    return doubts


def _interval(standing: Standing, quantity: str) -> Interval:
    values = standing.best.values.get(quantity)
    return over_seeds(values.values()) if values else Interval(float("nan"), None, None, 0)


def _named(standing: Standing) -> str:
    where = settings_in_words(standing.settings)
    return f"{standing.model} ({where})" if where else standing.model
