"""Datasette, set up for results: what it shows, in which words, and what it must not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasette.app import Datasette
from datasette.plugins import pm

from compat_spec.results import Results
from compat_spec.results.views import FIXED_COLUMNS
from compat_spec.serve import hooks
from compat_spec.serve.database import ReadOnlyDatabase
from compat_spec.serve.mistakes import keep_off_the_terminal
from compat_spec.serve.questions import Question, questions

DATABASE = "results"
"""What the database is called in addresses, whatever its file is called."""

HERE = Path(__file__).parent

VIEWS = {
    "leaderboard": "A merge at one point of its sweeps: means over seeds, with standard errors, ranked by loss.",
    "critical_steps": "Where each merge turns over training steps, for each seed.",
    "loss": "The cross-entropy of a model or merge on a task, for each seed.",
    "accuracy": "The share of tokens that are predicted, for each seed.",
    "answers": "The share of examples that are answered, for each seed.",
    "perplexity": "The exponential of the loss, for each seed.",
    "examples": "What each example of a split gave a model or merge, for each seed.",
    "cka": "The similarity of a layer of one model and a layer of another, by CKA.",
    "similarity": "The similarity of two layers by any measure; the column quantity says which.",
    "routing": "What the routers of merges do, for each block.",
    "all_scores": "Every score of every run, repeated experiments too.",
    "all_similarities": "Every similarity of every run, repeated experiments too.",
    "latest_runs": "The run of each experiment that the views above show.",
}

SETTINGS = {
    "allow_download": False,
    "default_cache_ttl": 0,  # a run may be writing
    "sql_time_limit_ms": 10_000,
    "max_returned_rows": 5_000,
}


class Site(Datasette):  # type: ignore[misc]  # Datasette has no types
    """Datasette on one file of results."""

    def __init__(self, file: Path, results: Results) -> None:
        super().__init__(
            [],
            metadata=_metadata(results.name),
            template_dir=str(HERE / "templates"),
            static_mounts=[("look", str(HERE / "static"))],
            settings=SETTINGS,
        )
        self.remove_database("_memory")
        self.add_database(ReadOnlyDatabase(self, file), name=DATABASE)
        self.results = results
        self.views = VIEWS

    def questions(self) -> list[Question]:
        """Those that the results can answer as they are now: a run may bring a swept parameter."""
        columns = self.results.query("SELECT name FROM pragma_table_info('leaderboard')").rows
        return questions([name for (name,) in columns if name not in FIXED_COLUMNS])


def make_site(file: Path, results: Results) -> Site:
    """A site, and the hooks by which Datasette asks it for pages of its own."""
    keep_off_the_terminal()
    if not pm.has_plugin(hooks.NAME):
        pm.register(hooks, hooks.NAME)
    return Site(file, results)


def _metadata(name: str) -> dict[str, Any]:
    tables = {view: {"description": text} for view, text in VIEWS.items()}
    return {"title": "Results", "databases": {DATABASE: {"title": Path(name).name, "tables": tables}}}
