"""The model source for tensors alone: any safetensors, of which nobody has to make a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from compat_plugins.models.folders import adapter_folder, checksum_of_folder, resolved
from compat_spec.components import Example, ModelSource, TaskName
from compat_spec.errors import CompatError
from compat_spec.nn.weights import Weights

if TYPE_CHECKING:
    from torch import nn

    from compat_spec.nn.network import Tokenizer


class Tensors(ModelSource):
    """The tensors of any model in safetensors, a vision model or a bare state dict: to be merged, and nothing else.

    `compat merge` writes what merges make of it. For causal language models there is causal_lm, which can be measured.

    Example:
        use: tensors
        path: checkpoints/unet.safetensors
    """

    bare: ClassVar[bool] = True

    path: Path = Field(description="A safetensors file, or a folder with one or with shards.")
    adapter: Path | None = Field(
        default=None, description="A folder with a LoRA adapter, as peft writes it, to be folded into the tensors."
    )

    @field_validator("path")
    @classmethod
    def _is_there(cls, path: Path, info: ValidationInfo) -> Path:
        place = resolved(path, info)
        if place.is_dir() and not any(place.glob("*.safetensors")):
            raise ValueError(f"{place} has no safetensors; pickles are never opened")
        if not place.exists():
            raise ValueError(f"there is no file or folder {place}")
        return place

    @field_validator("adapter")
    @classmethod
    def _is_adapter(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return None if path is None else adapter_folder(path, info)

    def identity(self) -> Mapping[str, Any]:
        """The checksums of what it reads."""
        return {str(place): checksum_of_folder(place) for place in (self.path, self.adapter) if place is not None}

    def weights(self) -> Weights:
        return Weights(self.path, self.adapter)

    def make_tokenizer(self, examples: Mapping[TaskName, Sequence[Example]]) -> Tokenizer:
        raise CompatError(self._nothing_but_tensors())

    def make_model(self, tokenizer: Tokenizer) -> nn.Module:
        raise CompatError(self._nothing_but_tensors())

    def _nothing_but_tensors(self) -> str:
        return f"{self.path} is read as tensors alone, of which no network is made: write its merges with compat merge"
