"""`compat send`: a run of the past, passed on to Weights & Biases, MLflow, TensorBoard or another sink."""

from __future__ import annotations

import typer

from compat_spec.cli.options import DEFAULT_RESULTS, ResultsUrl, RunName
from compat_spec.cli.sinks import SinkTexts, make_sinks


def send(
    run: RunName = "last",
    sink: SinkTexts = None,
    results: ResultsUrl = DEFAULT_RESULTS,
) -> None:
    """Pass a run of the past on to a sink, as if it had been run with --sink.

    Example: [bold]compat send last --sink '{use: tensorboard, folder: logs}'[/bold]
    """
    from compat_spec.errors import UsageError

    sinks = make_sinks(sink or ())
    if not sinks:
        raise UsageError("say where to: --sink NAME; compat plugins list sinks shows which there are")

    from compat_spec.results import open_results, without_password
    from compat_spec.run.sending import send_run
    from compat_spec.run.sinks import name_of

    opened = open_results(results, create=False)
    found = opened.run(run)
    for one in sinks:
        where = send_run(opened, found, one)
        typer.echo(f"{name_of(one)}: {without_password(where or f'has run {found.id}')}")
