"""The `dare_ties` merge."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from compat_plugins.merges.dare_linear import DareLinear
from compat_plugins.merges.task_vectors import NORMALIZE_ELECTED


class DareTies(DareLinear):
    """Like `dare_linear`, and adds only those entries that agree with the sum in sign, like `ties`.

    Yu et al., "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch", 2023,
    arXiv:2311.03099, with the signs of Yadav et al., 2023, arXiv:2306.01708.
    """

    elected: ClassVar[bool] = True

    normalize: bool = Field(default=False, description=NORMALIZE_ELECTED)
