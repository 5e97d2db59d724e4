"""What a run found on each task: in words, as a table, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compat_spec.report.data.gathered import Gathered, Target
from compat_spec.report.data.intervals import Interval
from compat_spec.report.page.doubts import doubts
from compat_spec.report.page.judge import Judge
from compat_spec.report.page.sentences import sentences
from compat_spec.report.wording import settings_in_words

MOST_MERGES = 10
"""In the table that is open; all are in the one below it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One model or merge at its best point."""

    model: str
    role: str
    where: str
    cells: tuple[Interval | None, ...]
    seeds: int
    place: int | None
    """Among merges that have a number."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found on one task."""

    task: str
    split: str
    quantities: tuple[str, ...]
    sentences: tuple[str, ...]
    doubts: tuple[str, ...]
    lines: tuple[Line, ...]
    all_lines: tuple[Line, ...]

    @property
    def has_merges(self) -> bool:
        return any(line.role == "merge" for line in self.all_lines)

    @property
    def over(self) -> str:
        """What intervals are over: `3 seeds and 600 examples`; nothing where there is none."""
        cells = (cell for line in self.all_lines for cell in line.cells if cell is not None)
        return max((cell.over for cell in cells), key=len, default="")


def verdicts(data: Gathered) -> list[Verdict]:
    """One for each task with scores, those on which most merges were measured first."""
    return [_verdict(data, target) for target in data.targets]


def _verdict(data: Gathered, target: Target) -> Verdict:
    quantities = data.quantities(target)
    judge = Judge(data, target, quantities[0])
    lines = _lines(judge, quantities)
    few = [line.model for line in lines if line.role == "merge"][:MOST_MERGES]
    return Verdict(
        task=target[0],
        split=target[1],
        quantities=tuple(quantities),
        sentences=tuple(sentences(judge)),
        doubts=tuple(doubts(judge)),
        lines=tuple(line for line in lines if line.role != "merge" or line.model in few),
        all_lines=tuple(lines),
    )


def _lines(judge: Judge, quantities: Sequence[str]) -> list[Line]:
    places = {standing.model: place for place, standing in enumerate(judge.merges, start=1)}
    return [
        Line(
            model=standing.model,
            role=standing.role,
            where=settings_in_words(standing.settings),
            cells=tuple(judge.cell(standing, quantity) for quantity in quantities),
            seeds=standing.best.seeds(judge.quantity),
            place=places.get(standing.model),
        )
        for standing in judge.ranked
    ]
