"""Passes a run of the past on to a sink, from the results."""

from __future__ import annotations

from collections.abc import Iterator

from compat_spec.components import Sink
from compat_spec.errors import CompatError
from compat_spec.results import FinalStatus, Results, Run
from compat_spec.run.sinks import check_all, name_of, words_of
from compat_spec.run.telling import Call, beginning, findings


def send_run(results: Results, run: Run, sink: Sink) -> str | None:
    """Make the calls that the sink would have had if the run had had it; returns what `Sink.end` does.

    A run that is still going on, or that died, ends as interrupted.

    Raises:
        CompatError: the sink failed.
    """
    check_all([sink])
    status: FinalStatus = run.status if run.status in ("finished", "failed") else "interrupted"
    try:
        for call in _calls(results, run):
            call(sink)
        return sink.end(status, run.error)
    except CompatError:
        raise
    except (Exception, SystemExit) as error:  # some libraries exit
        raise CompatError(f"the sink {name_of(sink)} failed: {words_of(error)}") from error


def _calls(results: Results, run: Run) -> Iterator[Call]:
    roles = {model.name: model.role for model in results.models(run.id)}
    yield beginning(run.id, run, roles, [task.name for task in results.tasks(run.id)], run.started)
    yield from findings(roles, results.steps(run.id), results.scores(run.id), results.similarities(run.id))
