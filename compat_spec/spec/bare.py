"""Models that are tensors alone: whether a spec asks more of them than to be merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compat_spec.components import ModuleMerge, TaskName, names_in
from compat_spec.spec.drafts import Drafts
from compat_spec.spec.problems import Problems
from compat_spec.spec.spec import Declaration, MergeVariant, MetricVariant, ModelVariant

ADVICE = "they can be merged, by compat merge, and nothing else"


def check_bare_models(
    drafts: Drafts,
    problems: Problems,
    models: Mapping[str, Declaration[ModelVariant]],
    merges: Mapping[str, Declaration[MergeVariant]],
    metrics: Mapping[str, Declaration[MetricVariant]],
) -> None:
    """Report what would need a network of a model of which none can be made."""
    bare = {
        name
        for name, declaration in models.items()
        if any(variant.source is not None and variant.source.bare for variant in declaration.variants.values())
    }
    if not bare:
        return
    bare_merges: set[str] = set()
    while found := {  # once more for each merge of merges
        name
        for name, declaration in merges.items()
        if name not in bare_merges
        and any(
            expert.name in bare | bare_merges for variant in declaration.variants.values() for expert in variant.experts
        )
    }:
        bare_merges |= found

    def check(
        section: str, declarations: Mapping[str, Declaration[Any]], used: Callable[[str, Any], list[str]], what: str
    ) -> None:
        for name, draft in drafts.section(section).items():
            variants = declarations[name].variants.values()
            one = next((one for variant in variants for one in used(name, variant) if one in bare | bare_merges), None)
            if one:
                problems.add(draft.place, draft.where, f"{one} is tensors alone, which {what}", ADVICE)

    check("models", models, _trained, "cannot be trained")
    check("merges", merges, _run, "cannot be run")
    check("metrics", metrics, _measured, "cannot be measured")


def _trained(name: str, variant: ModelVariant) -> list[str]:
    if variant.parent is not None:
        return [variant.parent.name]
    return [name] if variant.trainer is not None else []


def _run(_: str, variant: MergeVariant) -> list[str]:
    """The models of a merge that runs them."""
    runs = isinstance(variant.merge, ModuleMerge) or any(True for _ in names_in(variant.merge, TaskName))
    return [ref.name for ref in (*variant.experts, *variant.others.values())] if runs else []


def _measured(_: str, variant: MetricVariant) -> list[str]:
    return [ref.name for ref in (*variant.subjects, *(variant.between or ()))]
