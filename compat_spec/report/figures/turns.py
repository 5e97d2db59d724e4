"""Whether merging regressed: how much a loss rose from its lowest point to the last step, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from compat_spec.report.data.intervals import Interval, over_seeds
from compat_spec.report.wording import listed, with_interval

Curve = Mapping[int, Mapping[int, float | None]]
"""Step → seed → loss."""


def rises(curves: Mapping[str, Curve], merges: Sequence[str]) -> str:
    """In words: what each merge lost, and which had not turned when the steps ended."""
    found = {merge: rise for merge in merges if (rise := regression(curves[merge])) is not None}
    still = [merge for merge, rise in found.items() if rise.mean == 0]
    told = [
        f"{merge} {with_interval(rise)}{' (may be chance)' if rise.may_be_zero else ''}"
        for merge, rise in found.items()
        if merge not in still
    ]
    words = [f"From the lowest mean to the last step the loss rises by: {listed(told)}."] if told else []
    words += [f"Lowest at the last step, so that no turn was seen: {listed(still)}."] if still else []
    return " ".join(words)


def regression(curve: Curve) -> Interval | None:
    """By how much the loss at the last step is above that where its mean is lowest, in pairs of seeds.

    0 where the mean is lowest at the last step. None where seeds differ from step to step, or the last is no number.
    """
    means = {step: over_seeds(by_seed.values()).mean for step, by_seed in curve.items()}
    known = {step: mean for step, mean in means.items() if math.isfinite(mean)}
    last = max(curve)
    if last not in known:
        return None
    lowest = min(known, key=lambda step: (known[step], step))
    before, after = curve[lowest], curve[last]
    if before.keys() != after.keys():
        return None
    pairs = [(before[seed], after[seed]) for seed in before]
    return over_seeds(None if low is None or high is None else high - low for low, high in pairs)
