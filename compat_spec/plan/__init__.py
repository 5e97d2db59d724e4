"""Spec -> Plan: the steps of an experiment, each with a fingerprint of everything that decides its result."""

from compat_spec.plan.build import make_plan
from compat_spec.plan.steps import ComponentCall, Measurement, ModelInfo, Plan, Step, StepKind, TaskInfo

__all__ = ["ComponentCall", "Measurement", "ModelInfo", "Plan", "Step", "StepKind", "TaskInfo", "make_plan"]
