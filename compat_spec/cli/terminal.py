"""What `compat run` shows while it works: live bars in a terminal, plain lines in a pipe, nothing with --quiet."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from compat_spec.run.events import Event

QUIET_SECONDS = 10.0
"""How long a step may run in a pipe before a line says how far it is."""


STOPPING = "stopping where nothing is lost; Ctrl-C again stops at once"


class _Note(ProgressColumn):
    """What a task is at: of all columns the one that is cut where the terminal is narrow."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["note"], style="dim", no_wrap=True, overflow="ellipsis")

    def get_table_column(self) -> Column:
        return Column(no_wrap=False)


def bars(console: Console, *, shown: bool = True) -> Progress:
    """Bars with a description, how far they are, the time they took and take, and a `note`; gone at the end."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
        TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
        _Note(),
        console=console,
        transient=True,
        disable=not shown,
    )


class LiveDisplay:
    """An overall bar by the amount of work, a line for each running step, and a line kept for each failure."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = bars(console)
        self._overall: TaskID | None = None
        self._steps: dict[str, tuple[TaskID, int]] = {}
        """The line and the work of each running step, by its fingerprint."""
        self._inside: dict[str, int] = {}
        """How much of the work of each running step is done."""
        self._work_done = 0

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        from compat_spec.run import events

        match event:
            case events.RunStarted(total, reused, device, work):
                self._overall = self._progress.add_task(f"on {device}", total=work, note=_kept(total, reused))
            case events.StepStarted(step):
                line = self._progress.add_task(step.label, total=None, note="")
                self._steps[step.fingerprint] = line, step.work
            case events.StepProgress(fingerprint, done, total, note) if fingerprint in self._steps:
                line, work = self._steps[fingerprint]
                self._progress.update(line, completed=done, total=total, note=note)
                self._inside[fingerprint] = work * done // max(total, 1)
                self._advance()
            case events.StepFinished(step, _, _):
                self._end(step.fingerprint, step.work)
            case events.StepRetried(step, reason):
                self._end(step.fingerprint, 0)
                self._console.print(f"again: {step.label}: {reason}", style="yellow", markup=False, highlight=False)
            case events.StepFailed(step, error):
                self._end(step.fingerprint, step.work)
                self._console.print(f"failed: {step.label}: {error}", style="red", markup=False, highlight=False)
            case events.Waiting(step):
                self._console.print(f"waiting for another run: {step.label}", style="dim", markup=False)
            case events.Notice(text):
                self._console.print(text, style="yellow", markup=False, highlight=False)
            case events.Stopping():
                self._console.print(STOPPING, style="yellow", markup=False)

    def _advance(self) -> None:
        if self._overall is not None:
            self._progress.update(self._overall, completed=self._work_done + sum(self._inside.values()))

    def _end(self, fingerprint: str, work: int) -> None:
        line, _ = self._steps.pop(fingerprint, (None, 0))
        if line is not None:
            self._progress.remove_task(line)
        self._inside.pop(fingerprint, None)
        self._work_done += work
        self._advance()


class PlainDisplay:
    """One line for each step when it is done, and one now and then for a step that takes long."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = 0
        self._finished = 0
        self._labels: dict[str, str] = {}
        self._last_line: dict[str, float] = {}
        """When each running step was last spoken of."""

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def __call__(self, event: Event) -> None:
        from compat_spec.run import events

        match event:
            case events.RunStarted(total, reused, device, _):
                self._total = total - reused
                self._line(_kept(total, reused) + (f", on {device}" if reused < total else ""))
            case events.StepStarted(step):
                self._labels[step.fingerprint] = step.label
                self._last_line[step.fingerprint] = time.monotonic()
            case events.StepProgress(fingerprint, done, total, note) if fingerprint in self._labels:
                if time.monotonic() - self._last_line[fingerprint] > QUIET_SECONDS:
                    self._last_line[fingerprint] = time.monotonic()
                    label = self._labels[fingerprint]
                    self._line(f"{self._count()} {label}: {done} of {total}" + (f", {note}" if note else ""))
            case events.StepFinished(step, seconds, reused):
                self._finished += 1
                how = "made by another run" if reused else f"{seconds:.1f} s"
                self._line(f"{self._count()} {step.label}: {how}")
            case events.StepRetried(step, reason):
                self._line(f"{self._count()} again: {step.label}: {reason}")
            case events.StepFailed(step, error):
                self._finished += 1
                self._line(f"{self._count()} failed: {step.label}: {error}")
            case events.Waiting(step):
                self._line(f"waiting for another run: {step.label}")
            case events.Notice(text):
                self._line(text)
            case events.Stopping():
                self._line(STOPPING)

    def _count(self) -> str:
        width = len(str(self._total))
        return f"[{self._finished:>{width}}/{self._total}]"

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class NoDisplay:
    """Says nothing."""

    def __enter__(self) -> NoDisplay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def __call__(self, event: Event) -> None:
        pass


def display(console: Console, *, quiet: bool) -> LiveDisplay | PlainDisplay | NoDisplay:
    """The display that suits where the output goes."""
    if quiet:
        return NoDisplay()
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


def _kept(total: int, reused: int) -> str:
    if reused == total:
        return f"nothing to compute: all {total} steps are in the store"
    return f"{total - reused} steps to compute" + (f", {reused} in the store" if reused else "")
