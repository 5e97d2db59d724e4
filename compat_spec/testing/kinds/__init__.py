"""The checks, a file for each contract. A new kind of component is one more file, and a line here."""

from __future__ import annotations

from compat_spec.components import (
    Component,
    Executor,
    LayerMetric,
    ModelMetric,
    ModelSource,
    ModuleMerge,
    PairMetric,
    Task,
    TensorMerge,
    Trainer,
)

FILES: dict[type[Component], str] = {
    Component: "component",
    Task: "task",
    ModelSource: "model_source",
    Trainer: "trainer",
    TensorMerge: "tensor_merge",
    ModuleMerge: "module_merge",
    ModelMetric: "model_metric",
    LayerMetric: "layer_metric",
    PairMetric: "pair_metric",
    Executor: "executor",
}
"""Each has a `check` that holds the checks of components with this contract."""
