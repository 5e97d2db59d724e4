"""The models on one task, the best first, and how sure their numbers and differences are."""

from __future__ import annotations

import math
from functools import cached_property

from compat_spec.report.data.gathered import LOWER_IS_BETTER, Gathered, Target
from compat_spec.report.data.intervals import Interval
from compat_spec.report.leaderboard import Standing, standings
from compat_spec.report.wording import settings_in_words

NO_NUMBER = Interval(math.nan, None, None, 0)


class Judge:
    """Looks at one quantity of one task.

    Attributes:
        quantity: what decides.
        metrics: the names of those that measured it.
        ranked: each model and merge at its best point.
    """

    def __init__(self, data: Gathered, target: Target, quantity: str) -> None:
        self._sureness = data.sureness
        self.metrics = data.metrics.get((*target, quantity), ())
        self.target = target
        self.quantity = quantity
        self.means = data.of_target(target)
        self.ranked = standings(self.means, quantity)

    @property
    def lower_is_better(self) -> bool:
        return self.quantity in LOWER_IS_BETTER

    @cached_property
    def known(self) -> list[Standing]:
        """Those with a number."""
        return [standing for standing in self.ranked if self.interval(standing).is_number]

    @cached_property
    def merges(self) -> list[Standing]:
        return [standing for standing in self.known if standing.role == "merge"]

    @cached_property
    def rivals(self) -> list[Standing]:
        """The merges that cannot be told from the best one: intervals of their differences hold 0."""
        return [other for other in self.merges[1:] if self.difference(other, self.merges[0]).may_be_zero]

    def interval(self, standing: Standing) -> Interval:
        return self.cell(standing, self.quantity) or NO_NUMBER

    def cell(self, standing: Standing, quantity: str) -> Interval | None:
        """Another quantity at the point that is best by the one that decides."""
        return self._sureness.interval(self.target, quantity, standing.model, standing.best)

    def difference(self, a: Standing, b: Standing) -> Interval:
        """Of a minus b: in pairs, which leaves out what all models of a seed have in common, where there are pairs."""
        pair = ((a.model, a.best), (b.model, b.best))
        paired = self._sureness.difference(self.target, self.quantity, *pair)
        return paired or Interval(self.interval(a).mean - self.interval(b).mean, None, None, 0)


def named(standing: Standing) -> str:
    """`blend (alpha 0.5, step 80)`."""
    where = settings_in_words(standing.settings)
    return f"{standing.model} ({where})" if where else standing.model
