"""What is left to do of a plan, and which of it comes next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

from compat_spec.plan import Plan, Step
from compat_spec.plan.steps import SMALL_STEP

LONG = 10 * SMALL_STEP
"""Paths of less work than this are all alike: their order is that of where their inputs are in memory."""


class Graph:
    """The steps to do, ready or waiting for others.

    First comes what begins the longest path of work, so that no worker is left with a long path at the end. Among
    short paths, first comes what has become ready last: its inputs are still in memory where they were made.
    """

    def __init__(self, plan: Plan, needed: Iterable[str]) -> None:
        self._plan = plan
        self._missing: dict[str, set[str]] = {}
        self._dependents: dict[str, list[str]] = {}
        self._ready: list[tuple[int, int, str]] = []
        self._count = 0
        self._paths = _paths(plan)
        self.add(needed)

    def add(self, needed: Iterable[str]) -> None:
        """More steps to do, in the plan's order; those that are here already stay as they are."""
        new = [fingerprint for fingerprint in needed if fingerprint not in self._missing]
        inside = self._missing.keys() | set(new)
        for fingerprint in new:
            self._missing[fingerprint] = self._plan.steps[fingerprint].needs() & inside
            for above in self._missing[fingerprint]:
                self._dependents.setdefault(above, []).append(fingerprint)
        for fingerprint in reversed(new):
            if not self._missing[fingerprint]:
                self.push(fingerprint)

    def again(self, fingerprint: str, after: Iterable[str]) -> None:
        """A step that was begun is to be done once more, when these other steps have been done."""
        waits = set(after)
        self._missing[fingerprint] = waits
        for above in waits:
            self._dependents.setdefault(above, []).append(fingerprint)
        if not waits:
            self.push(fingerprint)

    def push(self, fingerprint: str) -> None:
        """It can be started."""
        self._count += 1
        path = self._paths[fingerprint]
        heappush(self._ready, (-path if path >= LONG else 0, -self._count, fingerprint))

    def pop(self) -> str | None:
        """What to start next; it is ready no more. None when nothing is ready."""
        return heappop(self._ready)[2] if self._ready else None

    @property
    def any_ready(self) -> bool:
        return bool(self._ready)

    def done(self, fingerprint: str) -> None:
        self._missing.pop(fingerprint, None)
        for below in reversed(self._dependents.pop(fingerprint, [])):
            missing = self._missing.get(below)
            if missing is not None and fingerprint in missing:
                missing.discard(fingerprint)
                if not missing:
                    self.push(below)

    def below(self, fingerprint: str) -> list[Step]:
        """Everything to do that depends on a step."""
        found: dict[str, None] = {}
        wanted = list(self._dependents.get(fingerprint, []))
        while wanted:
            below = wanted.pop()
            if below not in found:
                found[below] = None
                wanted += self._dependents.get(below, [])
        return [self._plan.steps[fingerprint] for fingerprint in found]


def _paths(plan: Plan) -> Mapping[str, int]:
    """The work of the longest path that begins with each step, itself included."""
    below: dict[str, int] = {}
    for fingerprint, step in reversed(list(plan.steps.items())):
        below[fingerprint] = step.work + below.get(fingerprint, 0)
        for above in step.needs():
            below[above] = max(below.get(above, 0), below[fingerprint])
    return below
