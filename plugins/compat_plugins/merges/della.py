"""The `della` merge."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from compat_plugins.merges.della_linear import DellaLinear
from compat_plugins.merges.task_vectors import NORMALIZE_ELECTED


class Della(DellaLinear):
    """Like `della_linear`, and adds only those entries that agree with the sum in sign, like `ties`.

    Deep, Bhardwaj and Poria, "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
    2024, arXiv:2406.11617.
    """

    elected: ClassVar[bool] = True

    normalize: bool = Field(default=True, description=NORMALIZE_ELECTED)
