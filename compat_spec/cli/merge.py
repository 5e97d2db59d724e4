"""`compat merge`: one merge of a spec as a model folder."""

from __future__ import annotations

import gc
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from compat_spec.cli.options import DEFAULT_STORE, Overrides, SpecPath, StoreFolder
from compat_spec.cli.terminal import bars, display
from compat_spec.cli.words import counted, size_in_words, time_in_words

if TYPE_CHECKING:
    from compat_spec.run.forecast import Forecast
    from compat_spec.run.single_merge import SingleMerge
    from compat_spec.spec import Spec


def merge(
    spec: SpecPath,
    name: Annotated[
        str | None,
        typer.Argument(help="The merge, as the spec calls it; the only one, or last one, by default.", metavar="NAME"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The folder to write: a new or an empty one. NAME by default."),
    ] = None,
    set_: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be read and written; check that the models fit.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where tensors are combined: cpu, cuda, cuda:1, mps.")] = "cpu",
    shard_size: Annotated[
        float, typer.Option(min=0.001, metavar="GB", help="How large a file of the result becomes at most.")
    ] = 5.0,
    adapter: Annotated[
        int | None,
        typer.Option(min=1, metavar="RANK", help="Write a merge of LoRA adapters as an adapter of this rank."),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Write one merge of a spec as a model folder, without running the experiment.

    Models that are in folders are read where they are, tensor by tensor: no model is ever whole in memory. Models that
    the spec trains come from the store, and are trained first where it lacks them. Merges that the merge is made of are
    written beside it first, and removed at the end.

    Example: [bold]compat merge mine.yaml average --out models/average[/bold]
    """
    from compat_spec.spec import load

    loaded = load(spec, set_ or ())
    name = name or _only_merge(loaded)

    # only now the imports that take seconds: a mistake in a spec shows at once
    gc.disable()  # they leave no garbage, and to look for it takes a tenth of their time
    from compat_spec.errors import UsageError
    from compat_spec.run.appearing import check_free
    from compat_spec.run.devices import resolve_devices
    from compat_spec.run.single_merge import SingleMerge
    from compat_spec.store import open_store

    gc.enable()

    checked, *more = resolve_devices(device)
    if more:
        raise UsageError(f"--device {device}: tensors are combined on one device")
    single = SingleMerge(loaded, name, open_store(store))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if dry_run:
        _show(name, single.forecast(adapter), console)
        return
    folder = out or Path(name)
    check_free(folder)
    _make_models(single, checked, console, quiet=quiet)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        said = _write(single, folder, checked, shard_size, adapter, console, quiet=quiet)
    except KeyboardInterrupt:
        print(f"compat: stopped; {folder} was not written", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    if not quiet:
        console.print(said)


def _write(
    single: SingleMerge,
    folder: Path,
    device: str,
    shard_size: float,
    adapter: int | None,
    console: Console,
    *,
    quiet: bool,
) -> str:
    """Write the folder; what to say of it."""
    started = time.monotonic()
    with bars(console, shown=console.is_terminal and not quiet) as progress:
        line = progress.add_task(f"merge {single.name}", total=None, note="")

        def tell(done: int, total: int, tensor: str) -> None:
            progress.update(line, completed=done, total=total, note=tensor)

        kept = ""
        if adapter is None:
            single.write(folder, device=device, shard_bytes=int(shard_size * 1e9), progress=tell)
        else:
            kept = f", {single.write_adapter(folder, adapter, progress=tell):.2%} of the change kept"
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{folder}: {size_in_words(size)}, in {time_in_words(time.monotonic() - started)}{kept}"


def _only_merge(spec: Spec) -> str:
    """The merge of the spec, or the one that others lead to."""
    variants = [variant for merge in spec.merges.values() for variant in merge.variants.values()]
    used = {ref.name for variant in variants for ref in (*variant.experts, *variant.others.values())}
    found = [name for name in spec.merges if name not in used]
    if len(found) != 1:
        from compat_spec.errors import UsageError

        raise UsageError(f"{spec.path} has {counted(len(spec.merges), 'merge')}: name one of {', '.join(spec.merges)}")
    return found[0]


def _show(name: str, forecast: Forecast, console: Console) -> None:
    for inner_name, inner in forecast.first.items():
        _show(inner_name, inner, console)
        if not inner.first:
            console.print(f"for {inner_name}, which is made first, and removed at the end")
    if forecast.first:
        console.print(f"what {name} reads is known when {', '.join(forecast.first)} is there")
    if forecast.steps:
        steps = counted(forecast.steps, "step")
        console.print(f"{steps} come first, for the store lacks what the merge is made of: compat plan shows them")
    if forecast.bytes_to_read is not None and forecast.bytes_to_write is not None:
        console.print(f"reads   {size_in_words(forecast.bytes_to_read)}")
        console.print(f"writes  {size_in_words(forecast.bytes_to_write)}")
    if forecast.tensors is not None and forecast.largest_bytes is not None:
        console.print(f"tensors {forecast.tensors}, the largest {size_in_words(forecast.largest_bytes)}")


def _make_models(single: SingleMerge, device: str, console: Console, *, quiet: bool) -> None:
    """Run the steps of the spec that the merge needs and the store lacks."""
    from compat_spec.cli.executors import make_executor

    with display(Console(), quiet=quiet) as listener:
        summary = single.prepare(make_executor("local", {}, ()), devices=device, listener=listener)
    if summary is None:
        return
    for failure in summary.failed:
        Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(
            f"failed: {failure.step.label}: {failure.error}"
        )
    if summary.exit_status:
        if summary.left and not quiet:
            console.print("Stopped: the same command goes on from here.")
        raise typer.Exit(summary.exit_status)
