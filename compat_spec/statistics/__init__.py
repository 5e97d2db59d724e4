"""How sure a mean or a difference is: intervals, tests and corrections, of plain NumPy arrays."""

from compat_spec.statistics.corrections import benjamini_hochberg, holm
from compat_spec.statistics.intervals import Interval, over_examples, over_seeds, over_seeds_and_examples
from compat_spec.statistics.paired import SignFlips, effect_size, sign_flips, win_rate

__all__ = [
    "Interval",
    "SignFlips",
    "benjamini_hochberg",
    "effect_size",
    "holm",
    "over_examples",
    "over_seeds",
    "over_seeds_and_examples",
    "sign_flips",
    "win_rate",
]
