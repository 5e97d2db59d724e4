"""Why a step is to be computed: which part of what its fingerprint is made of is another than before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from compat_spec import registry
from compat_spec.plan.needed import needed_steps
from compat_spec.plan.steps import Plan, Step
from compat_spec.store import Manifest, Store

_ARTIFACT = re.compile(r"[0-9a-f]{64}(/.*)?")

_ABSENT = object()

_LONGEST = 60
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a step stands, and why.

    Attributes:
        state: `done`; `not needed`, as all that is made of it is done; or `to do`.
        before: the artifact that comes closest, of a step that is to do: what it is compared with.
        reasons: lines, from the cause that lies nearest to the one that lies furthest; indented by their depth.
    """

    step: Step
    state: str
    before: Manifest | None
    reasons: tuple[str, ...]


def explain(plan: Plan, store: Store, fingerprints: Iterable[str]) -> list[Explanation]:
    """Why steps of a plan would run, or would not."""
    needed = set(needed_steps(plan, store))
    made = {one: manifest for one, manifest in store.manifests().items() if manifest is not None and manifest.content}
    return [_explain(plan, store, needed, made, plan.steps[fingerprint]) for fingerprint in fingerprints]


def _explain(plan: Plan, store: Store, needed: Set[str], made: Mapping[str, Manifest], step: Step) -> Explanation:
    fingerprint = step.fingerprint
    if fingerprint not in needed:
        if store.has(fingerprint):
            return Explanation(step, "done", store.manifest(fingerprint), ())
        reason = "the store does not have it, but has all that is made of it"
        return Explanation(step, "not needed", None, (reason,))
    if store.has(fingerprint):
        gone = [other for other in store.refers(fingerprint) if not store.has(other)]
        reasons = [f"its artifact is there, but needs {_called(plan, other)}, which is gone" for other in gone]
        return Explanation(step, "to do", store.manifest(fingerprint), tuple(reasons))
    before = _closest(step, made.values())
    if before is None:
        return Explanation(step, "to do", None, ("the store has nothing like it: it was never made, or removed",))
    return Explanation(step, "to do", before, tuple(_reasons(plan, made, step, before)))


def _closest(step: Step, made: Iterable[Manifest]) -> Manifest | None:
    """Of the nearest label, then with the fewest differences, then the newest."""
    alike = [manifest for manifest in made if manifest.kind == step.kind.value]
    return min(
        alike,
        key=lambda one: (
            -_likeness(one.label, step.label),
            len(list(_differences(one.content, step.content))),
            -one.created,
        ),
        default=None,
    )


def _reasons(plan: Plan, known: Mapping[str, Manifest], step: Step, before: Manifest, depth: int = 0) -> Iterator[str]:
    margin = "  " * depth
    told: set[Any] = set()
    found = list(_differences(before.content, step.content))
    if not found:
        yield f"{margin}the engine computes such steps in another way since"
    for path, old, new in found:
        if not _is_artifact(new):
            yield margin + _in_words(path, old, new)
            continue
        if new in told:
            continue
        told.add(new)
        above = plan.steps[new[:64]]
        yield f"{margin}{_place(path)} is another: {_called(plan, new)}"
        if new[64:] != str(old)[64:]:
            yield f"{margin}  the checkpoint: {str(old)[65:] or 'its end'} → {new[65:] or 'its end'}"
        if new[:64] == str(old)[:64]:
            continue
        earlier = known.get(str(old)[:64]) or _closest(above, known.values())
        if earlier is None or earlier.fingerprint == above.fingerprint:
            continue
        if earlier.kind != above.kind.value:
            yield f"{margin}  instead of {earlier.label}"
        else:
            yield from _reasons(plan, known, above, earlier, depth + 1)


def _likeness(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b).ratio()


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two contents differ: the path, and what stands there, or is absent."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*new, *(key for key in old if key not in new)]:
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), inner)
    elif _is_list(old) and _is_list(new) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _differences(a, b, f"{path}[{index}]")
    elif old != new:
        yield path, old, new


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_artifact(value: Any) -> bool:
    return isinstance(value, str) and _ARTIFACT.fullmatch(value) is not None


def _called(plan: Plan, reference: str) -> str:
    step = plan.steps.get(reference[:64])
    return step.label if step else f"artifact {reference[:12]}"


def _in_words(path: str, old: Any, new: Any) -> str:
    if path.endswith(".code") and isinstance(old, str) and isinstance(new, str):
        (name, version, _), (new_name, new_version, _) = map(registry.identity_parts, (old, new))
        if name == new_name:
            what = "its source was edited" if version == new_version else f"version {version} → {new_version}"
            return f"the code of {name} has changed: {what}"
        return f"{_place(path.removesuffix('.code'))}: {name} → {new_name}"
    return f"{_place(path)}: {_value(old)} → {_value(new)}"


def _place(path: str) -> str:
    """`trainer.params.steps` -> `trainer.steps`; `merge.params.models[0].model` -> `merge.models[0]`."""
    return path.replace(".params", "").removesuffix(".model").removesuffix(".task")


def _value(value: Any) -> str:
    text = "nothing" if value is _ABSENT else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
