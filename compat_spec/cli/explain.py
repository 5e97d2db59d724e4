"""`compat explain`: why a step would run again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_spec.cli.options import DEFAULT_RESULTS, DEFAULT_STORE, Overrides, ResultsUrl, StoreFolder
from compat_spec.cli.words import time_in_words
from compat_spec.errors import UsageError

if TYPE_CHECKING:
    from compat_spec.plan import Plan, Step
    from compat_spec.plan.explain import Explanation


def explain(
    step: Annotated[
        str,
        typer.Argument(help="A step: the beginning of its fingerprint, its label, or words of it.", metavar="STEP"),
    ],
    spec: Annotated[
        Path | None, typer.Argument(help="The spec; by default that of the last run.", metavar="[SPEC]")
    ] = None,
    set_: Overrides = None,
    store: StoreFolder = DEFAULT_STORE,
    results: ResultsUrl = DEFAULT_RESULTS,
) -> None:
    """Say why a step would run again: which part of what decides its result has changed since it was computed.

    `compat plan SPEC --steps` lists the steps.

    Example: [bold]compat explain "train math" specs/routing.yaml[/bold]
    """
    from compat_spec.plan import make_plan
    from compat_spec.plan.explain import explain as explained
    from compat_spec.spec import load
    from compat_spec.store import open_store

    planned = make_plan(load(spec or _last_spec(results), set_ or ()))
    opened = open_store(store)
    found = [one.fingerprint for one in _steps(planned, step)]
    typer.echo("\n\n".join(map(_in_words, explained(planned, opened, found))))


def _last_spec(results: str) -> Path:
    from compat_spec.results import open_results

    path = Path(open_results(results, create=False).run("last").spec_path)
    if not path.exists():
        raise UsageError(f"the spec of the last run, {path}, is not there; name one: compat explain STEP SPEC")
    return path


def _steps(plan: Plan, wanted: str) -> list[Step]:
    """Those that `wanted` means: one by its fingerprint or whole label, or all whose labels have its words."""
    steps = list(plan.steps.values())
    found = [step for step in steps if step.label == wanted or step.fingerprint.startswith(wanted)]
    if not found:
        found = [step for step in steps if wanted.lower() in step.label.lower()]
    if not found:
        raise UsageError(f"the plan has no step {wanted!r}; compat plan SPEC --steps lists them")
    return found


def _in_words(explanation: Explanation) -> str:
    step, before = explanation.step, explanation.before
    title = f"{step.label} ({step.fingerprint[:12]}): {explanation.state}"
    if before is not None:
        ago = time_in_words(max(0.0, time.time() - before.created))
        if explanation.state == "done":
            title += f", made {ago} ago on {before.host} in {time_in_words(before.seconds)}"
        elif before.fingerprint != step.fingerprint:
            name = "the one" if before.label == step.label else before.label
            title += f"; compared with {name} made {ago} ago ({before.fingerprint[:12]}):"
    return "\n".join([title, *(f"  {reason}" for reason in explanation.reasons)])
