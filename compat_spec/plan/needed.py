"""Which steps of a plan there is still something to do for."""

from __future__ import annotations

from collections.abc import Iterable

from compat_spec.plan.steps import Plan, StepKind
from compat_spec.store import Store


def needed_steps(plan: Plan, store: Store, results: Iterable[str] | None = None) -> list[str]:
    """The steps to compute, in the plan's order: the results that the store lacks, and what they are made of.

    Args:
        results: by default all of the plan.
    """
    of = plan.results() if results is None else results
    wanted = [fingerprint for fingerprint in of if not is_available(plan, store, fingerprint)]
    needed: set[str] = set()
    while wanted:
        fingerprint = wanted.pop()
        if fingerprint in needed:
            continue
        needed.add(fingerprint)
        inputs = plan.steps[fingerprint].needs()
        wanted += [above for above in inputs if above not in needed and not is_available(plan, store, above)]
    return [fingerprint for fingerprint in plan.steps if fingerprint in needed]


def is_available(plan: Plan, store: Store, fingerprint: str) -> bool:
    """Whether the store has an artifact, and for a composed module the networks that it refers to."""
    if not store.has(fingerprint):
        return False
    if plan.steps[fingerprint].kind is not StepKind.MERGE:
        return True
    return all(store.has(reference) for reference in store.refers(fingerprint))
