"""What writing a merge is going to take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compat_spec.nn.checkpoint import Checkpoint
from compat_spec.nn.outline import MergeOutline


@dataclass(frozen=True)
class Forecast:
    """What writing a merge takes.

    Attributes:
        steps: how many steps come first (trainings, for example), because the store lacks what they make.
        first: the merges that come first, by name; what they write is read again, and removed at the end.
        bytes_to_read: None when that is not known before these steps and merges.
    """

    steps: int
    tensors: int | None = None
    bytes_to_read: int | None = None
    bytes_to_write: int | None = None
    largest_bytes: int | None = None
    first: Mapping[str, Forecast] = field(default_factory=dict)


def forecast_of(outline: MergeOutline) -> Forecast:
    """For a merge that is written whole."""
    return Forecast(0, len(outline.outputs), outline.bytes_to_read, outline.bytes_to_write, outline.largest_bytes)


def forecast_of_adapter(outline: MergeOutline, start: Path, rank: int) -> Forecast:
    """For a merge of adapters of the model `start` that is written as an adapter of this rank."""
    from compat_spec.nn.adapters import Adapted

    models = [model.tensors for model in outline.models]
    changed = {name for tensors in models if isinstance(tensors, Adapted) for name in tensors.changed}
    sizes = [4 * rank * side for name in changed for side in outline.outputs[name].shape]
    read = [*models, *([outline.base.tensors] if outline.base is not None else [])]
    with Checkpoint(start) as base:
        size = sum(
            tensors.bytes(name)
            for name, output in outline.outputs.items()
            if not output.kept
            for tensors in (*read, base)
        )
    return Forecast(0, len(sizes), size, sum(sizes), max(sizes, default=0))
