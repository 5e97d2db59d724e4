"""A spec that has been read and checked: every name resolved, every sweep spelled out, every parameter validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from compat_spec.components import Merge, Metric, ModelSource, Task, Trainer

Point: TypeAlias = tuple[int, ...]
"""Which value each axis of a declaration has: one index per axis, in the order of `Declaration.axes`."""

V = TypeVar("V", covariant=True)


@dataclass(frozen=True)
class Axis:
    """What a sweep varies. Sweeps with the same `zip:` label are one axis with several columns.

    Attributes:
        name: unique in the spec: the dotted path of the sweep (`merges.blend.alpha`), or `zip:LABEL`.
        columns: what the swept parameters are called in the results: the path within the declaration, with `_` for
            dots (`alpha`, `train_steps`); for tasks and models with the declaration's name before it (`math_train_lr`).
        values: one tuple per point, a value (any JSON) for each column.
    """

    name: str
    columns: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class ModelRef:
    """`math` (the end of its training) or `math@100` (its checkpoint of step 100; None is the end)."""

    name: str
    step: int | None = None

    def __str__(self) -> str:
        return self.name if self.step is None else f"{self.name}@{self.step}"


@dataclass(frozen=True)
class TaskVariant:
    use: str
    task: Task


@dataclass(frozen=True)
class ModelVariant:
    """A source, or a descendant of another model; trained or not. Exactly one of `source` and `parent` is set."""

    source_use: str | None
    source: ModelSource | None
    parent: ModelRef | None
    trainer_use: str | None
    trainer: Trainer | None


@dataclass(frozen=True)
class MergeVariant:
    """A merge with its experts: `models` of the component with `at:` applied. `others` are the models that further
    fields name (`base`, `trunk`), by their name as written. Each may be another merge of tensors."""

    use: str
    merge: Merge
    experts: tuple[ModelRef, ...]
    others: Mapping[str, ModelRef]
    trainer_use: str | None
    trainer: Trainer | None


@dataclass(frozen=True)
class MetricVariant:
    """A metric with what it is measured on.

    `subjects` of a model metric: the models (with checkpoints) and merges, each on each of `tasks`. `between` of a
    pair metric: the two models.
    """

    use: str
    metric: Metric
    tasks: tuple[str, ...]
    subjects: tuple[ModelRef, ...]
    between: tuple[ModelRef, ModelRef] | None


@dataclass(frozen=True)
class Declaration(Generic[V]):
    """A name of the spec with one variant for each point of its own sweeps; `{(): variant}` without sweeps.

    Sweeps of what it refers to (a merge of models whose trainer sweeps a learning rate) are not spelled out here: the
    planner combines them.
    """

    name: str
    axes: tuple[Axis, ...]
    variants: Mapping[Point, V]


@dataclass(frozen=True)
class Spec:
    """An experiment, ready to be planned."""

    name: str
    description: str
    seeds: tuple[int, ...]
    tasks: Mapping[str, Declaration[TaskVariant]]
    models: Mapping[str, Declaration[ModelVariant]]
    merges: Mapping[str, Declaration[MergeVariant]]
    metrics: Mapping[str, Declaration[MetricVariant]]
    path: Path
    text: str
    """The whole spec as YAML, with `extends:` and `--set` applied: what is kept with the results."""

    def model_or_merge(self, name: str) -> Declaration[ModelVariant] | Declaration[MergeVariant]:
        """What a name among the models of a merge stands for; the two sections share their names."""
        return self.models[name] if name in self.models else self.merges[name]
