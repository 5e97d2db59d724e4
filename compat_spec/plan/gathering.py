"""Measurements of a sweep that can be made as one: networks that a merge builds together are read together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from compat_spec.plan.steps import Plan, Step, StepKind

MOST = 8
"""How many networks are read as one: more save little, and leave less for other processes."""


def gathered(plan: Plan, needed: Iterable[str]) -> Plan:
    """The same plan; of the needed steps, those that measure networks of one sweep on the same tokens are told so.

    `settings["together"]` is, for each network, its own among them, the fingerprint and the parameters of its merge.
    Nothing depends on it but time: each step can be done without the others. What is measured already is left out.
    """
    steps = plan.steps
    groups: dict[str, list[str]] = {}
    for fingerprint in needed:
        step = steps[fingerprint]
        if step.kind is StepKind.MEASURE:
            merge = steps[step.inputs["network"].fingerprint]
            if merge.settings.get("sweeps"):
                groups.setdefault(_kin(step, merge), []).append(fingerprint)
    found = dict(steps)
    for group in groups.values():
        for some in (group[start : start + MOST] for start in range(0, len(group), MOST)):
            merges = [steps[steps[fingerprint].inputs["network"].fingerprint] for fingerprint in some]
            together = [[merge.fingerprint, dict(merge.component.params)] for merge in merges if merge.component]
            for fingerprint in some if len(some) > 1 else ():
                step = steps[fingerprint]
                found[fingerprint] = replace(step, settings={**step.settings, "together": together})
    return replace(plan, steps=found)


def _kin(step: Step, merge: Step) -> str:
    """What is the same of measurements that are made together: all but the parameters of the merge."""
    inputs = {role: str(ref) for role, ref in step.inputs.items() if role != "network"}
    experts = {role: str(ref) for role, ref in merge.inputs.items()}
    metric = step.component and [step.component.use, dict(step.component.params)]
    return json.dumps([metric, inputs, merge.use, experts, merge.seed], sort_keys=True, default=str)
