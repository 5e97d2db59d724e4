"""Spec -> Plan: the steps of an experiment, each with a fingerprint of everything that decides its result."""

from compat_spec.plan.build import plan
from compat_spec.plan.steps import Measurement, ModelInfo, Plan, Step, StepKind, TaskInfo

__all__ = ["Measurement", "ModelInfo", "Plan", "Step", "StepKind", "TaskInfo", "plan"]
