"""The difference of two models, paired over seeds and examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compat_spec.errors import CompatError
from compat_spec.report.compare.points import Point, lower_is_better
from compat_spec.results import FoundScore
from compat_spec.statistics import (
    Interval,
    effect_size,
    over_seeds,
    over_seeds_and_examples,
    sign_flips,
    win_rate,
)
from compat_spec.statistics.arrays import Array

Examples = Mapping[int, Sequence[tuple[int, float, float]]]
"""The place, value and weight of the examples of scores, by the keys of those."""


@dataclass(slots=True)
class PairedDifference:
    """How two models differ in one quantity.

    Attributes:
        a, b: their names, with their points.
        a_mean, b_mean: the means over the seeds that both have.
        difference: of a minus b, with its interval.
        p_value: two-sided, by Student's t, of the same error as the interval.
        p_adjusted: the same, corrected for the other comparisons.
        p_flips: two-sided, by sign flips of examples, or of seeds where there are no examples; `flips` says of how
            many, `exact` whether those are all.
        effect_size: Cohen's d_z, over examples, or over seeds; positive where a is higher.
        win_rate: the share of examples, or seeds, on which a is better; higher, where nobody knows what is better.
        a_is_better: None where nobody knows, or there is no difference.
        notes: what a reader has to know about this pair.
    """

    a: str
    b: str
    quantity: str
    a_mean: float
    b_mean: float
    difference: Interval
    p_value: float
    p_flips: float
    flips: int
    exact: bool
    effect_size: float
    win_rate: float
    seeds: tuple[int, ...]
    notes: tuple[str, ...] = ()
    p_adjusted: float = math.nan

    @property
    def a_is_better(self) -> bool | None:
        lower = lower_is_better(self.quantity)
        if lower is None or math.isnan(self.difference.mean) or self.difference.mean == 0:
            return None
        return (self.difference.mean < 0) == lower


def paired_difference(
    a: Point, b: Point, labels: tuple[str, str], examples: Examples, level: float
) -> PairedDifference:
    """Compare two models.

    Raises:
        CompatError: they have no seed in common, or were measured on other examples.
    """
    seeds = tuple(sorted(a.scores.keys() & b.scores.keys()))
    if not seeds:
        raise CompatError(
            f"{labels[0]} and {labels[1]} have no seed in common ({_listed(a.scores)}; {_listed(b.scores)}): "
            "pairs need one"
        )
    notes = []
    if left := sorted(a.scores.keys() ^ b.scores.keys()):
        notes.append(f"{labels[0]} and {labels[1]}: seeds that only one of them has are left out: {_listed(left)}")
    scores = [(a.scores[seed], b.scores[seed]) for seed in seeds]
    means = [np.array([score.value for score in of_one]) for of_one in zip(*scores, strict=True)]
    quantity = scores[0][0].quantity
    together = _by_example(scores, labels, examples)
    if together is None:
        found, weights = (means[0] - means[1])[:, None], np.ones((len(seeds), 1))
        units, shares = found[:, 0], None
        difference = over_seeds(units, level=level)
        notes.extend(_why_without_examples(scores, labels, examples))
    else:
        found, weights = together
        difference = over_seeds_and_examples(found, weights, level=level)
        units, shares = found.mean(0), weights.mean(0)
    flips = sign_flips(units if together is None else (found * weights / weights.sum(1, keepdims=True)).mean(0))
    return PairedDifference(
        *labels,
        quantity,
        float(means[0].mean()),
        float(means[1].mean()),
        difference,
        difference.p_value(),
        flips.p_value if len(units) > 1 else math.nan,
        flips.flips,
        flips.exact,
        effect_size(units, shares),
        win_rate(-units if lower_is_better(quantity) else units),
        seeds,
        tuple(notes),
    )


def _by_example(
    scores: Sequence[tuple[FoundScore, FoundScore]], labels: tuple[str, str], examples: Examples
) -> tuple[Array, Array] | None:
    """Differences and weights `[seeds, examples]`; None where there are no numbers per example for all seeds."""
    differences, weights, places = [], [], []
    for a, b in scores:
        of_a, of_b = examples.get(a.key), examples.get(b.key)
        if a.n != b.n or (of_a and of_b):
            _insist_on_the_same(a, b, labels, of_a, of_b)
        if not of_a or not of_b:
            return None
        differences.append([x - y for (_, x, _), (_, y, _) in zip(of_a, of_b, strict=True)])
        weights.append([weight for _, _, weight in of_a])
        places.append([place for place, _, _ in of_a])
    if any(own != places[0] for own in places):
        return None
    return np.array(differences), np.array(weights)


def _insist_on_the_same(
    a: FoundScore,
    b: FoundScore,
    labels: tuple[str, str],
    of_a: Sequence[tuple[int, float, float]] | None,
    of_b: Sequence[tuple[int, float, float]] | None,
) -> None:
    what = f"{labels[0]} and {labels[1]} cannot be paired on {a.task}"
    if not of_a or not of_b:
        raise CompatError(f"{what}: the one was measured on {a.n} tokens or examples, the other on {b.n}")
    if [place for place, _, _ in of_a] != [place for place, _, _ in of_b]:
        raise CompatError(
            f"{what}: the one was measured on {_which(of_a)}, the other on {_which(of_b)}; measure both on the same"
        )
    for (place, _, one), (_, _, other) in zip(of_a, of_b, strict=True):
        if one != other:
            raise CompatError(
                f"{what}: example {place} counts {one:g} in the one and {other:g} in the other; with another "
                "tokenizer, or other rules of what is scored, a number per token is another measure"
            )


def _why_without_examples(
    scores: Sequence[tuple[FoundScore, FoundScore]], labels: tuple[str, str], examples: Examples
) -> list[str]:
    lacking = [any(not examples.get(pair[side].key) for pair in scores) for side in (0, 1)]
    if all(lacking):
        return []
    if not any(lacking):
        return [f"{labels[0]} and {labels[1]}: their seeds were measured on different examples; paired over seeds only"]
    return [f"{labels[lacking.index(True)]} has no numbers per example: measure it again with this version"]


def _which(examples: Sequence[tuple[int, float, float]]) -> str:
    return f"{len(examples)} examples ({examples[0][0]} to {examples[-1][0]})"


def _listed(seeds: Mapping[int, object] | Sequence[int]) -> str:
    return "seed" + ("" if len(seeds) == 1 else "s") + " " + ", ".join(map(str, sorted(seeds)))
