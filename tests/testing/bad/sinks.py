"""Sinks that break their contract, each in one way."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from pydantic import PrivateAttr

from compat_spec.components import MeasuredScore, Sink, StartedRun
from tests.testing.bad.case import Bad


class Good(Sink):
    """Counts."""

    _count: int = PrivateAttr(default=0)

    def begin(self, run: StartedRun) -> None:
        pass

    def scores(self, rows: Sequence[MeasuredScore]) -> None:
        self._count += len(rows)

    def end(self, status: str, error: str | None) -> Any:
        return f"{self._count} scores"


class AtHome(Good):
    def begin(self, run: StartedRun) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("signal only works in the main thread")


class Numeric(Good):
    def end(self, status: str, error: str | None) -> Any:
        return self._count


class Consuming(Good):
    def scores(self, rows: Sequence[MeasuredScore]) -> None:
        rows.clear()  # type: ignore[attr-defined]


class Needy(Good):
    def end(self, status: str, error: str | None) -> Any:
        return 1 / self._count


BAD = [
    Bad(AtHome, "takes_a_run", "signal only works in the main thread"),
    Bad(Numeric, "says_where_to_look", "has to return a text, or None"),
    Bad(Consuming, "leaves_rows_alone", "copy what you change"),
    Bad(Needy, "takes_a_run_that_found_nothing", "division by zero"),
]
