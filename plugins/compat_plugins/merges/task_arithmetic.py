"""The `task_arithmetic` merge."""

from __future__ import annotations

from compat_plugins.merges.task_vectors import TaskVectorMerge


class TaskArithmetic(TaskVectorMerge):
    """Adds the models' differences from their base to it, with weights: base + lambda · sum of weight · (model - base).

    Ilharco et al., "Editing Models with Task Arithmetic", 2022, arXiv:2212.04089.
    """
