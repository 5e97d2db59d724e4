"""The results of runs: a database that SQL can reach."""

from compat_spec.results.database import Results, open_results
from compat_spec.results.errors import QueryError, ResultsError
from compat_spec.results.history import SeedMean
from compat_spec.results.passwords import without_password
from compat_spec.results.rows import (
    FinalStatus,
    FoundScore,
    ModelRow,
    Run,
    RunInfo,
    ScoreRow,
    SimilarityRow,
    StepRow,
    Table,
    TaskRow,
)
from compat_spec.results.writer import RunWriter

__all__ = [
    "FinalStatus",
    "FoundScore",
    "ModelRow",
    "QueryError",
    "Results",
    "ResultsError",
    "Run",
    "RunInfo",
    "RunWriter",
    "ScoreRow",
    "SeedMean",
    "SimilarityRow",
    "StepRow",
    "Table",
    "TaskRow",
    "open_results",
    "without_password",
]
