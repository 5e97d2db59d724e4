"""The `breadcrumbs_ties` merge."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from compat_plugins.merges.breadcrumbs import Breadcrumbs
from compat_plugins.merges.task_vectors import NORMALIZE_ELECTED


class BreadcrumbsTies(Breadcrumbs):
    """Like `breadcrumbs`, and adds only those entries that agree with the sum in sign, like `ties`.

    Davari and Belilovsky, "Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks", 2023,
    arXiv:2312.06795, with the signs of Yadav et al., 2023, arXiv:2306.01708.
    """

    elected: ClassVar[bool] = True

    normalize: bool = Field(default=False, description=NORMALIZE_ELECTED)
