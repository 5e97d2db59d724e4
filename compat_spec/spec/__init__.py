"""The spec language: `load(path)` reads a YAML file, checks all of it and gives a `Spec`, ready to be planned."""

from compat_spec.spec.problems import Place, Problem, SpecError
from compat_spec.spec.reading import load
from compat_spec.spec.spec import (
    Axis,
    Declaration,
    MergeVariant,
    MetricVariant,
    ModelRef,
    ModelVariant,
    Point,
    Spec,
    TaskVariant,
)

__all__ = [
    "Axis",
    "Declaration",
    "MergeVariant",
    "MetricVariant",
    "ModelRef",
    "ModelVariant",
    "Place",
    "Point",
    "Problem",
    "Spec",
    "SpecError",
    "TaskVariant",
    "load",
]
