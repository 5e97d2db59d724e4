"""`compat plan`: what a run would do, without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from compat_spec.cli.options import DEFAULT_STORE, Overrides, SpecPath, StoreFolder
from compat_spec.cli.words import time_in_words

if TYPE_CHECKING:
    from compat_spec.store import Store


def plan(
    spec: SpecPath,
    set_: Overrides = None,
    store: StoreFolder = DEFAULT_STORE,
    steps: Annotated[bool, typer.Option("--steps", help="List every step, not only how many of each kind.")] = False,
) -> None:
    """Show the steps of an experiment, which of them the store already has, and how much work is left.

    Example: [bold]compat plan specs/routing.yaml --steps[/bold]
    """
    from compat_spec.plan import Step, make_plan
    from compat_spec.plan.needed import needed_steps
    from compat_spec.spec import load
    from compat_spec.store import open_store

    planned = make_plan(load(spec, set_ or ()))
    opened = open_store(store)
    needed = set(needed_steps(planned, opened))
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")

    def work(of: list[Step]) -> str:
        tokens = sum(step.tokens or 0 for step in of if step.fingerprint in needed)
        return f"{tokens:,}" if tokens else ""

    if steps:
        for column in ("step", "kind", "what", "tokens to train", ""):
            right = column == "tokens to train"
            table.add_column(column, no_wrap=column != "what", justify="right" if right else "left")
        for step in planned.steps.values():
            state = "to do" if step.fingerprint in needed else "done"
            style = None if state == "to do" else "dim"
            table.add_row(step.fingerprint[:12], step.kind.value, step.label, work([step]), state, style=style)
    else:
        for column in ("kind", "steps", "done", "to do", "tokens to train"):
            table.add_column(column, justify="left" if column == "kind" else "right")
        kinds: dict[str, list[Step]] = {}
        for step in planned.steps.values():
            kinds.setdefault(step.kind.value, []).append(step)
        for kind, of_kind in [*kinds.items(), ("all", list(planned.steps.values()))]:
            todo = sum(step.fingerprint in needed for step in of_kind)
            table.add_row(kind, str(len(of_kind)), str(len(of_kind) - todo), str(todo), work(of_kind))
    console.print(table)
    left = [planned.steps[fingerprint] for fingerprint in planned.steps if fingerprint in needed]
    if not left:
        console.print(f"\nNothing to compute: the store {store} has everything.")
        return
    speed = _past_speed(opened)
    if speed is None:
        console.print("\nHow long it takes is known after the first training in this store.")
    else:
        seconds = sum(step.work for step in left) / (3 * speed)
        console.print(
            f"\nAbout {time_in_words(seconds)}, at the {speed:,.0f} tokens/s of past trainings in this store."
        )


def _past_speed(store: Store) -> float | None:
    """The mean speed of the trainings that the store remembers, in tokens per second."""
    facts = [manifest.facts for manifest in store.manifests().values() if manifest is not None]
    speeds = [float(one["tokens_per_second"]) for one in facts if "tokens_per_second" in one]
    return sum(speeds) / len(speeds) if speeds else None
