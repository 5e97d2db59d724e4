"""The runs, as the home page lists them: what each found, in a line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from compat_spec.report.data.gathered import QUANTITIES
from compat_spec.report.data.intervals import over_seeds
from compat_spec.report.leaderboard import standings
from compat_spec.report.wording import settings_in_words, with_interval
from compat_spec.results import Results, Run, SeedMean

MOST_RUNS = 50
"""On the home page; the others are a query away."""


@dataclass(frozen=True, slots=True)
class Line:
    """A run. `best` is its best merge and what that gave, or why there is none."""

    run: Run
    started: str
    took: str
    best: str
    has_report: bool


def runs(results: Results) -> list[Line]:
    """The newest runs, the newest first."""
    return [_line(results, run) for run in results.runs()[:MOST_RUNS]]


def _line(results: Results, run: Run) -> Line:
    seconds = run.seconds
    if seconds is None and run.status == "running":
        seconds = (datetime.now(UTC) - run.started).total_seconds()
    took = "" if seconds is None else f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
    means = results.seed_means(run.id)
    return Line(run, f"{run.started:%Y-%m-%d %H:%M} UTC", took, _best(means), bool(run.steps))


def _best(means: list[SeedMean]) -> str:
    """`router (span 4): loss 3.011 [2.934, 3.088] on program`."""
    merges: dict[tuple[str, str], set[str]] = {}
    for mean in means:
        merges.setdefault((mean.task, mean.split), set())
        if mean.role == "merge":
            merges[mean.task, mean.split].add(mean.model)
    target = max(merges, key=lambda target: len(merges[target]), default=None)
    if target is None or not merges[target]:
        return ""
    of_target = [mean for mean in means if (mean.task, mean.split) == target]
    present = [mean.quantity for mean in of_target]
    quantity = next((name for name in QUANTITIES if name in present), present[0])
    best = next((s for s in standings(of_target, quantity) if s.role == "merge" and s.best.seeds(quantity)), None)
    if best is None:
        return ""
    where = settings_in_words(best.settings)
    value = with_interval(over_seeds(best.best.values[quantity].values()))
    return f"{best.model}{f' ({where})' if where else ''}: {quantity} {value} on {target[0]}"
