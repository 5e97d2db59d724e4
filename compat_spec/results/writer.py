"""Writes the rows of one run."""

from __future__ import annotations

from collections.abc import Sequence

from compat_spec.results.rows import FinalStatus, ScoreRow, SimilarityRow, StepRow


class RunWriter:
    """Writes one run. Each call is a transaction of its own: when it returns, its rows are on disk."""

    id: str
    """The public id of the run."""

    def step(self, row: StepRow) -> None:
        """Record how a step went."""
        self.steps([row])

    def steps(self, rows: Sequence[StepRow]) -> None:
        """Record how many steps went, in one transaction."""
        raise NotImplementedError

    def scores(self, rows: Sequence[ScoreRow]) -> None:
        """Record scores. The step that found them must be recorded already."""
        raise NotImplementedError

    def similarities(self, rows: Sequence[SimilarityRow]) -> None:
        """Record similarities. The step that found them must be recorded already."""
        raise NotImplementedError

    def finish(self, status: FinalStatus, error: str | None = None) -> None:
        """Record how the run ended."""
        raise NotImplementedError
