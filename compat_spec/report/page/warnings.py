"""What went wrong in a run, or is not what it seems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compat_spec.report.data.gathered import Gathered
from compat_spec.report.wording import counted, listed

MOST = 30


@dataclass(frozen=True, slots=True)
class Warned:
    """One kind of trouble, with its cases."""

    title: str
    cases: Sequence[tuple[str, str]]
    """What it is about, and what happened."""
    more: int = 0


def warnings(data: Gathered) -> list[Warned]:
    found = []
    run = data.run
    if run.status != "finished":
        words = {
            "running": "It was still running when this page was made: what is here is what was done by then.",
            "died": "Its process is gone without a word: what is here is what it had done.",
            "interrupted": "It was stopped: what is here is what was done by then.",
            "failed": "Some of its steps failed: what depends on them is missing.",
        }
        found.append(Warned(f"The run is not whole: {run.status}", [("", run.error or words.get(run.status, ""))]))
    failed = [(step.label, step.error or "no message") for step in data.steps if step.status == "failed"]
    found += _kind(f"{counted(len(failed), 'step')} failed", failed)
    skipped = [(step.label, step.error or "") for step in data.steps if step.status == "skipped"]
    found += _kind(f"{counted(len(skipped), 'step')} skipped, as what they need failed", skipped)
    undefined = [
        (step.label, listed(map(str, step.facts["undefined"]), 4))
        for step in data.steps
        if isinstance(step.facts.get("undefined"), list)
    ]
    found += _kind(f"{counted(len(undefined), 'step')} with undefined similarities (NaN)", undefined)
    lost: dict[str, int] = {}
    for mean in data.means:
        if mean.value is None:
            what = f"{mean.quantity} of {mean.model} on {mean.task}"
            lost[what] = lost.get(what, 0) + 1
    found += _kind(
        "Scores that are not numbers (NaN)",
        [
            (what, counted(count, "value, over points and seeds", "values, over points and seeds"))
            for what, count in lost.items()
        ],
    )
    return found


def _kind(title: str, cases: list[tuple[str, str]]) -> list[Warned]:
    return [Warned(title, cases[:MOST], max(0, len(cases) - MOST))] if cases else []
