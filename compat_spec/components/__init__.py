"""The contracts that plugins implement.

A component is a frozen pydantic model. Its fields are its YAML parameters, its docstring is its help (first line:
what it does; then the source), and its `version` goes into the fingerprint of every step that it takes part in:
raise it when the same parameters start to give other numbers.

How a run uses them, in order: a `Task` says what the examples are; a `ModelSource` says how a base comes to be; a
`Trainer` makes an expert of a base, or trains the routers of a merge; a `Merge` combines experts; a `ModelMetric`
scores one network on one task, a `PairMetric` compares the features of two, and a `LayerMetric` has the layers of two
work together; an `Executor` decides where each step runs; a `Sink` passes on what was found. A component never touches
the store, the database or other components: what it needs is handed to it.

Importing this module, or a module that defines components, must stay cheap: `compat validate` does it for every
component that a spec names. Import torch inside the methods that compute.
"""

from __future__ import annotations

from compat_spec.components.component import (
    Component,
    FitsModels,
)
from compat_spec.components.executors import (
    Executor,
    Job,
    JobReport,
    JobRunner,
    Link,
)
from compat_spec.components.merges import (
    Merge,
    MergeStudy,
    ModuleMerge,
    TensorMerge,
)
from compat_spec.components.metrics import (
    Comparison,
    Evaluation,
    ExampleScore,
    FeatureChoice,
    LayerMetric,
    LayerScores,
    Metric,
    ModelMetric,
    PairMetric,
    Score,
)
from compat_spec.components.models import (
    ModelSource,
)
from compat_spec.components.names import (
    ModelName,
    TaskName,
    names_in,
    names_within,
)
from compat_spec.components.sinks import (
    EndedStep,
    MeasuredScore,
    MeasuredSimilarity,
    Sink,
    StartedRun,
)
from compat_spec.components.tasks import (
    Example,
    Task,
)
from compat_spec.components.trainers import (
    Trainer,
    TrainingSession,
)

__all__ = [
    "Comparison",
    "Component",
    "EndedStep",
    "Evaluation",
    "Example",
    "ExampleScore",
    "Executor",
    "FeatureChoice",
    "FitsModels",
    "Job",
    "JobReport",
    "JobRunner",
    "LayerMetric",
    "LayerScores",
    "Link",
    "MeasuredScore",
    "MeasuredSimilarity",
    "Merge",
    "MergeStudy",
    "Metric",
    "ModelMetric",
    "ModelName",
    "ModelSource",
    "ModuleMerge",
    "PairMetric",
    "Score",
    "Sink",
    "StartedRun",
    "Task",
    "TaskName",
    "TensorMerge",
    "Trainer",
    "TrainingSession",
    "names_in",
    "names_within",
]
