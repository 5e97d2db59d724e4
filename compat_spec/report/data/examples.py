"""What was found on each example, at the points that the report is about: the best ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from compat_spec.report.data.intervals import ByExample, PointKey, Sureness, key_of
from compat_spec.report.leaderboard import standings

if TYPE_CHECKING:
    from compat_spec.results import FoundScore, Results, SeedMean

MOST_MODELS = 60
"""For each quantity; those that come after have intervals over seeds."""

Rows = Sequence[tuple[int, float, float]]


def sureness(results: Results, run_id: str, means: Sequence[SeedMean]) -> Sureness:
    """Intervals of a run's numbers, with the examples of the best points."""
    wanted = _best_points(means)
    scores: dict[PointKey, list[FoundScore]] = {}
    for model in dict.fromkeys(key[3] for key in wanted):
        for score in results.scores_of(run_id, model):
            key = key_of((score.task, score.split), score.quantity, model, score)
            if key in wanted:
                scores.setdefault(key, []).append(score)
    examples = results.examples([score.key for of_point in scores.values() for score in of_point])
    found = {key: _together(of_point, examples) for key, of_point in scores.items()}
    return Sureness({key: known for key, known in found.items() if known is not None})


def _best_points(means: Sequence[SeedMean]) -> set[PointKey]:
    """All quantities at the points that are best by any of them."""
    by_target: dict[tuple[str, str], list[SeedMean]] = {}
    for mean in means:
        by_target.setdefault((mean.task, mean.split), []).append(mean)
    return {
        key_of(target, other, standing.model, standing.best)
        for target, own in by_target.items()
        for quantity in {mean.quantity for mean in own}
        for standing in standings(own, quantity)[:MOST_MODELS]
        for other in standing.best.values
    }


def _together(scores: Sequence[FoundScore], examples: Mapping[int, Rows]) -> ByExample | None:
    """The seeds of one point, where each was measured once, and all on the same examples."""
    rows = [examples.get(score.key) for score in sorted(scores, key=lambda score: score.seed)]
    seeds = tuple(sorted(score.seed for score in scores))
    if len(set(seeds)) < len(seeds) or not all(rows):
        return None
    known = [row for row in rows if row]
    places = tuple(place for place, _, _ in known[0])
    if any(tuple(place for place, _, _ in row) != places for row in known):
        return None
    values = np.array([[value for _, value, _ in row] for row in known], np.float64)
    weights = np.array([[weight for _, _, weight in row] for row in known], np.float64)
    return ByExample(seeds, places, values, weights)
