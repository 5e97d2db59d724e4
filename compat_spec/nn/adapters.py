"""A model with a LoRA adapter folded in: its tensors are computed as they are read, and stored nowhere."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import Checkpoint, TensorSource
from compat_spec.nn.weights import Weights

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

PREFIX = "base_model.model."
"""What peft writes before the name that a module has in the model."""

_PART = re.compile(r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)(\.weight)?")


@dataclass(frozen=True, slots=True)
class _Change:
    """What an adapter adds to a matrix: `left [rows, r] @ right [r, columns]`, in float32.

    `magnitude`, of DoRA, is the length that each row is brought to.
    """

    left: Tensor
    right: Tensor
    magnitude: Tensor | None


class Adapted(TensorSource):
    """The tensors of a model plus the products of a LoRA adapter, as peft writes it.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv:2106.09685; with the scale of rsLoRA
    (arXiv:2312.03732) and the magnitudes of DoRA (arXiv:2402.09353) where its config says so. What the adapter changes
    is given in float32, whatever it is stored in: it is rounded by whoever writes it.

    Raises:
        CompatError: the adapter is of another kind, or does not fit the model.
    """

    def __init__(self, base: Checkpoint, adapter: Path) -> None:
        self._base = base
        self._adapter = adapter
        config = _config(adapter)
        self.transposed = bool(config.get("fan_in_fan_out"))
        """Whether the matrices that it changes are stored as `[in, out]`."""
        with Checkpoint(adapter / WEIGHTS) as tensors:
            self._replaced: dict[str, Tensor] = {}
            parts: dict[str, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                own = name.removeprefix(PREFIX)
                found = _PART.fullmatch(own)
                if found:
                    parts.setdefault(self._in_base(f"{found['module']}.weight"), {})[found["part"]] = tensor
                else:
                    self._replaced[self._in_base(own)] = tensor
        self._changes = {name: self._change(name, given, config) for name, given in parts.items()}
        self.linear = {name for name, given in parts.items() if given.keys() <= {"A", "B", "magnitude_vector"}}
        """The weights of linear layers among the tensors that it changes."""
        for name, tensor in self._replaced.items():
            self._check_shape(name, tensor.shape)

    def __enter__(self) -> Adapted:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._base.__exit__(kind, error, tb)

    def __len__(self) -> int:
        return len(self._base)

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __contains__(self, name: object) -> bool:
        return name in self._base

    def shape(self, name: str) -> tuple[int, ...]:
        return self._base.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        return self._base.dtype(name)

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        if name in self._replaced:
            return self._replaced[name].flatten()[start:stop].clone()
        change = self._changes.get(name)
        if change is None or stop == start:
            return self._base.piece(name, start, stop)
        columns = self.shape(name)[1]
        first, last = start // columns, math.ceil(stop / columns)  # whole rows, for a product has no parts of rows
        rows = self._base.piece(name, first * columns, last * columns).float().reshape(-1, columns)
        rows.addmm_(change.left[first:last], change.right)
        if change.magnitude is not None:
            rows *= (change.magnitude[first:last] / rows.norm(dim=1))[:, None]
        return rows.flatten()[start - first * columns : stop - first * columns]

    @property
    def changed(self) -> list[str]:
        """The tensors that the adapter changes or replaces."""
        return [*self._changes, *self._replaced]

    def _in_base(self, name: str) -> str:
        """What a tensor is called in the model: the same, or with a prefix more or less (`transformer.`)."""
        if name in self._base:
            return name
        alike = [known for known in self._base if known.endswith(f".{name}") or name.endswith(f".{known}")]
        if len(alike) != 1:
            raise CompatError(f"the adapter {self._adapter} is not of {self._base.place}, which has no {name}")
        return alike[0]

    def _change(self, name: str, parts: Mapping[str, Tensor], config: Mapping[str, Any]) -> _Change:
        embedding = "embedding_A" in parts
        a, b = (parts.get(f"embedding_{part}" if embedding else part) for part in "AB")
        if a is None or b is None:
            raise CompatError(f"the adapter {self._adapter} has only half of the product for {name}")
        if a.dim() != 2 or b.dim() != 2:
            raise CompatError(f"the adapter {self._adapter} changes {name}, which is no matrix")
        left, right = b.float() * _scale(name, len(a), config), a.float()
        magnitude = parts.get("magnitude_vector")
        if embedding or self.transposed:  # the matrix is stored as [in, out]
            if magnitude is not None:
                raise CompatError(f"the adapter {self._adapter} has DoRA magnitudes for {name}, which is transposed")
            left, right = right.T.contiguous(), left.T.contiguous()
        self._check_shape(name, (len(left), right.shape[1]))
        return _Change(left, right, None if magnitude is None else magnitude.float())

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if tuple(shape) != self.shape(name):
            raise CompatError(
                f"the adapter {self._adapter} does not fit {self._base.place}: {name} is {list(self.shape(name))}, and "
                f"the adapter is for {list(shape)}"
            )


def fold_in(model: nn.Module, weights: Weights) -> None:
    """Change a network that was opened from a folder to what it is with the adapter of `weights`."""
    own = model.state_dict()
    with weights.open() as tensors, torch.no_grad():
        assert isinstance(tensors, Adapted)
        for name in tensors.changed:
            found = [known for known in own if known == name or known.endswith(f".{name}")]
            if len(found) != 1:
                raise CompatError(f"the adapter {weights.adapter} changes {name}, which the model has not")
            own[found[0]].copy_(tensors[name])


def _config(adapter: Path) -> Mapping[str, Any]:
    try:
        config: Mapping[str, Any] = json.loads((adapter / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CompatError(f"{adapter / CONFIG} cannot be read: {error}") from error
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise CompatError(f"the adapter {adapter} is of the kind {kind}; only LORA can be folded into a model")
    if not isinstance(config.get("lora_alpha"), int | float):
        raise CompatError(f"{adapter / CONFIG} has no number as lora_alpha, by which its products are scaled")
    if not (adapter / WEIGHTS).exists():
        raise CompatError(f"{adapter} has no {WEIGHTS}; only safetensors are read")
    return config


def _scale(name: str, rank: int, config: Mapping[str, Any]) -> float:
    """What the product is multiplied by."""
    module = name.removesuffix(".weight")
    special = config.get("alpha_pattern") or {}
    alpha = next((value for key, value in special.items() if re.fullmatch(rf"(.*\.)?({key})", module)), None)
    alpha = config["lora_alpha"] if alpha is None else alpha
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
