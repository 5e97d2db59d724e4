"""Where the tensors of a model lie, as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compat_spec.nn.adapters import Adapted
    from compat_spec.nn.checkpoint import Checkpoint

__all__ = ["Weights"]


@dataclass(frozen=True, slots=True)
class Weights:
    """A folder or file of safetensors, and a folder with a LoRA adapter to be folded in.

    Beside the tensors a folder has the config and the tokenizer, for those who make a model of them.
    """

    place: Path
    adapter: Path | None = None

    def open(self) -> Checkpoint | Adapted:
        """The tensors, to be used `with`. Raises `CompatError` when they cannot be read."""
        from compat_spec.nn.adapters import Adapted
        from compat_spec.nn.checkpoint import Checkpoint

        checkpoint = Checkpoint(self.place)
        return checkpoint if self.adapter is None else Adapted(checkpoint, self.adapter)

    def __str__(self) -> str:
        return f"{self.place} + {self.adapter}" if self.adapter else str(self.place)
