"""The `compat` command."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import typer

from compat_spec.cli import (
    cache,
    compare,
    explain,
    export,
    help,
    importing,
    init,
    merge,
    plan,
    plot,
    plugins,
    query,
    report,
    run,
    runs,
    schema,
    send,
    serve,
    show,
    validate,
    version,
)
from compat_spec.errors import CompatError, CompatWarning, InterruptedRun

EPILOG = "Start with compat run specs/quickstart.yaml, or with compat init for your own models. compat help has more."

app = typer.Typer(
    name="compat",
    help="Runs experiments that combine fine-tuned models: a YAML spec in, rows for SQL out.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Experiments": (init.init, validate.validate, plan.plan, run.run, explain.explain, merge.merge),
    "Results": (
        report.report,
        compare.compare,
        query.query,
        show.show,
        runs.runs,
        plot.plot,
        serve.serve,
        export.export,
        send.send,
    ),
    "More": (schema.schema, version.version),
}
"""The commands that are called like their functions, by the panel of `--help` that they stand in."""

for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.command("import", rich_help_panel="Experiments")(importing.import_)
app.command("help", rich_help_panel="More")(help.help_)
app.add_typer(plugins.app, name="plugins", rich_help_panel="More")
app.add_typer(cache.app, name="cache", rich_help_panel="More")


def main() -> None:
    """Run the command; mistakes of the user become a message and an exit status, never a traceback."""
    # Threads of torch that wait for each other spin by default. When something else wants a core, too, that made a
    # training 15 to 25 times slower; waiting asleep costs a tenth on an idle machine. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # At its end Python goes through all objects of torch to free them one by one, which takes a third of a second.
    atexit.register(gc.freeze)
    warnings.formatwarning = _plainly
    try:
        app()
    except CompatError as error:
        print(error if error.names_its_place else f"compat: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("compat: stopped at once; what was done before is kept", file=sys.stderr, flush=True)
        os._exit(InterruptedRun.exit_status)  # without waiting for the threads of steps
    except BrokenPipeError:  # `compat query … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


_as_python_does = warnings.formatwarning


def _plainly(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
    """A warning of ours as its message alone."""
    return f"{message}\n" if issubclass(category, CompatWarning) else _as_python_does(message, category, *where, **more)
