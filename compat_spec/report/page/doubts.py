"""What a run cannot tell, and what flatters its numbers."""

from __future__ import annotations

from collections.abc import Iterator

from compat_spec.report.page.judge import Judge
from compat_spec.report.wording import counted, listed, name

FEW_SEEDS = 5
MANY_MERGES = 10


def doubts(judge: Judge) -> list[str]:
    """One sentence or two each."""
    return [*_of_seeds(judge), *_of_choices(judge), *_of_metrics(judge), *_of_gaps(judge)]


def _of_seeds(judge: Judge) -> Iterator[str]:
    seeds = len({mean.seed for mean in judge.means})
    if seeds == 1:
        over = next((interval.over for interval in map(judge.interval, judge.known) if interval.over), "")
        told = f"Intervals are over {over}, of these trained models only: " if over else "No interval: "
        yield f"One seed. {told}other seeds may differ by more. More tell: --set 'seeds=[0,1,2]'."
    elif seeds < FEW_SEEDS:
        yield (
            f"{seeds} seeds: intervals (Student's t) are wide, and each is right 95 times in 100 only if seeds scatter "
            "normally."
        )


def _of_choices(judge: Judge) -> Iterator[str]:
    swept = [standing for standing in judge.ranked if standing.points > 1 and standing.role == "merge"]
    if swept:
        most = max(swept, key=lambda standing: standing.points)
        yield (
            "The best point of a sweep was chosen on the split that it is scored on, which flatters merges with many "
            f"points ({most.model}: {most.points})."
        )
    if judge.rivals or len(judge.merges) > MANY_MERGES:
        yield (
            f"The best of {len(judge.merges)} merges is partly the luckiest: its intervals do not allow for the choice "
            "and, measured again on other seeds, it would look a little worse."
        )


def _of_metrics(judge: Judge) -> Iterator[str]:
    if len(judge.metrics) > 1:
        yield (
            f"Each {name(judge.quantity)} is a mean of what {counted(len(judge.metrics), 'metric')} found "
            f"({listed(judge.metrics)}), which may measure different things. One alone: compat compare --metric "
            f"{judge.metrics[0]}."
        )


def _of_gaps(judge: Judge) -> Iterator[str]:
    seeds = len({mean.seed for mean in judge.means})
    lacking = [standing.model for standing in judge.ranked if standing.best.seeds(judge.quantity) < seeds]
    if lacking:
        yield f"Not on all {seeds} seeds: {listed(lacking)}."
    if missing := [standing.model for standing in judge.ranked if standing not in judge.known]:
        yield f"No number (NaN or infinite, at every point or for some seed): {listed(missing)}."
