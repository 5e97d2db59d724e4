"""A model with a LoRA adapter folded in: its tensors are computed as they are read, and stored nowhere."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from compat_spec.errors import CompatError
from compat_spec.nn.adapter_config import PREFIX, WEIGHTS, read_config, scale_of
from compat_spec.nn.block_names import in_block
from compat_spec.nn.checkpoint import Checkpoint, TensorSource
from compat_spec.nn.pieces import PIECE
from compat_spec.nn.weights import Weights

_PART = re.compile(r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)(\.weight)?")

_SHIFT = re.compile(r"(?P<module>.+)\.lora_B\.bias")

_AT_HAND = 3
"""So many tensors' products are kept to make the next piece of: the pieces of a few tensors are made at once."""


@dataclass(frozen=True, slots=True)
class _Product:
    """Where the parts of a change lie in the adapter, and what they make of a matrix.

    Attributes:
        parts: what the adapter calls them.
        transposed: whether the matrix is stored as `[in, out]`.
    """

    module: str
    parts: Mapping[str, str]
    a: str
    b: str
    scale: float
    transposed: bool


@dataclass(frozen=True, slots=True)
class _Change:
    """What an adapter adds to a matrix: `left [rows, r] @ right [r, columns]`.

    Attributes:
        lengths: of DoRA: what the rows are brought to `[rows]`.
        factors: the same for columns, as what they are multiplied by `[columns]`.
    """

    left: Tensor
    right: Tensor
    lengths: Tensor | None = None
    factors: Tensor | None = None


class Adapted(TensorSource):
    """The tensors of a model plus the products of a LoRA adapter, as peft writes it.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv:2106.09685; with the scale of rsLoRA
    (arXiv:2312.03732) and the magnitudes of DoRA (arXiv:2402.09353) where its config says so. What the adapter changes
    is given in float32 (float64 where the model is), whatever it is stored in: it is rounded by whoever writes it. The
    adapter is read as its products are asked for.

    Raises:
        CompatError: the adapter is of another kind, or does not fit the model.
    """

    def __init__(self, base: Checkpoint, adapter: Path) -> None:
        self._base = base
        self._adapter = adapter
        config = read_config(adapter)
        self._tensors = Checkpoint(adapter / WEIGHTS)
        self._replaced: dict[str, str] = {}
        self._shifts: dict[str, tuple[str, float]] = {}
        parts: dict[str, dict[str, str]] = {}
        shifts: dict[str, str] = {}
        for stored in self._tensors:
            own = stored.removeprefix(PREFIX).replace(".base_layer.", ".")
            if found := _PART.fullmatch(own):
                parts.setdefault(found["module"], {})[found["part"]] = stored
            elif found := _SHIFT.fullmatch(own):
                shifts[found["module"]] = stored
            elif self._find(own) is not None or not self._is_copy(stored):
                self._replaced[self._in_base(own)] = stored
        in_base = {module: self._in_base(f"{module}.weight") for module in parts}
        turned = self._turned(parts, in_base, config)
        self._products = {
            in_base[module]: self._product(module, in_base[module], given, config, turned)
            for module, given in parts.items()
        }
        for module, stored in shifts.items():
            self._shifts[self._in_base(f"{module}.bias")] = stored, self._products[in_base[module]].scale
        for name, stored in [*self._replaced.items(), *((name, stored) for name, (stored, _) in self._shifts.items())]:
            self._check_shape(name, self._tensors.shape(stored))
        self._at_hand: OrderedDict[str, _Change] = OrderedDict()
        self._keeping = Lock()

    def __enter__(self) -> Adapted:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._base.__exit__(kind, error, tb)
        self._tensors.__exit__(kind, error, tb)

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

    def bytes(self, name: str) -> int:
        product, shift = self._products.get(name), self._shifts.get(name)
        parts = [*(product.parts.values() if product else ()), *([shift[0]] if shift else ())]
        return self._before_bytes(name) + sum(map(self._tensors.bytes, parts))

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        if name in self._shifts:
            stored, scale = self._shifts[name]
            before = self._before(name, start, stop).to(self._work(name))
            return before.add_(self._tensors.piece(stored, start, stop), alpha=scale)
        if name not in self._products or stop == start:
            return self._before(name, start, stop)
        columns = self.shape(name)[1]
        first, last = start // columns, math.ceil(stop / columns)  # whole rows, for a product has no parts of rows
        change = self._change(name)
        rows = self._added(name, change, first, last)
        if change.lengths is not None:
            rows *= (change.lengths[first:last] / rows.norm(dim=1))[:, None]
        if change.factors is not None:
            rows *= change.factors
        return rows.flatten()[start - first * columns : stop - first * columns]

    @property
    def changed(self) -> list[str]:
        """The tensors that the adapter changes or replaces."""
        return list(dict.fromkeys([*self._products, *self._replaced, *self._shifts]))

    @property
    def linear(self) -> Mapping[str, str]:
        """The weights of linear layers among the tensors that it changes, with what the adapter calls their modules."""
        return {
            name: product.module
            for name, product in self._products.items()
            if "A" in product.parts and name not in self._replaced
        }

    def transposed(self, name: str) -> bool:
        """Whether a matrix that it changes is stored as `[in, out]`."""
        return self._products[name].transposed

    # ---------------------------------------------------------------------------------------------------- products

    def _before(self, name: str, start: int, stop: int) -> Tensor:
        """Entries of a tensor before the product is added."""
        stored = self._replaced.get(name)
        return self._base.piece(name, start, stop) if stored is None else self._tensors.piece(stored, start, stop)

    def _before_bytes(self, name: str) -> int:
        stored = self._replaced.get(name)
        return self._base.bytes(name) if stored is None else self._tensors.bytes(stored)

    def _added(self, name: str, change: _Change, first: int, last: int) -> Tensor:
        """Rows with the product."""
        columns = self.shape(name)[1]
        rows = self._before(name, first * columns, last * columns).to(change.left.dtype).reshape(-1, columns)
        return rows.addmm_(change.left[first:last], change.right)

    def _change(self, name: str) -> _Change:
        with self._keeping:
            if name not in self._at_hand:
                self._at_hand[name] = self._read(name, self._products[name])
                if len(self._at_hand) > _AT_HAND:
                    self._at_hand.popitem(last=False)
            return self._at_hand[name]

    def _read(self, name: str, product: _Product) -> _Change:
        work = self._work(name)
        left, right = self._tensors[product.b].to(work) * product.scale, self._tensors[product.a].to(work)
        if product.transposed:
            left, right = right.T.contiguous(), left.T.contiguous()
        change = _Change(left, right)
        if "magnitude_vector" not in product.parts:
            return change
        lengths = self._tensors[product.parts["magnitude_vector"]].to(work).flatten()
        if not product.transposed:
            return _Change(left, right, lengths)
        return _Change(left, right, factors=lengths / self._column_lengths(name, change))

    def _column_lengths(self, name: str, change: _Change) -> Tensor:
        rows, columns = self.shape(name)
        squares = torch.zeros(columns, dtype=torch.float64)
        step = max(1, PIECE // columns)
        for first in range(0, rows, step):
            squares += self._added(name, change, first, min(first + step, rows)).double().square().sum(0)
        return squares.sqrt().to(change.left.dtype)

    def _work(self, name: str) -> torch.dtype:
        return torch.promote_types(self.dtype(name), torch.float32)

    # ------------------------------------------------------------------------------------------------------ checks

    def _in_base(self, name: str) -> str:
        """What a tensor is called in the model."""
        found = self._find(name)
        if found is None:
            why = "; if the model ties it to another, it cannot be changed alone" if in_block(name) is None else ""
            raise CompatError(f"the adapter {self._adapter} is not of {self._base.place}, which has no {name}{why}")
        return found

    def _find(self, name: str) -> str | None:
        """The same name, or one with a prefix more or less (`transformer.`), or with its parts in another order."""
        if name in self._base:
            return name
        alike = [known for known in self._base if known.endswith(f".{name}") or name.endswith(f".{known}")]
        alike = alike or [known for known in self._base if sorted(known.split(".")) == sorted(name.split("."))]
        return alike[0] if len(alike) == 1 else None

    def _is_copy(self, stored: str) -> bool:
        """Whether a tensor is that of the model by another name: peft also saves the head that is tied."""
        given = self._tensors[stored]
        return any(
            tensors.shape(other) == given.shape and torch.equal(tensors[other], given)
            for tensors in (self._base, self._tensors)
            for other in tensors
            if tensors is self._base or other != stored
        )

    def _turned(
        self, parts: Mapping[str, Mapping[str, str]], in_base: Mapping[str, str], config: Mapping[str, Any]
    ) -> bool:
        """Whether square matrices are stored as `[in, out]`: as those of the blocks that are not square are.

        The config says it of one kind of layer only, where a model has both.
        """
        for module, given in parts.items():
            if in_block(module) is not None and {"A", "B"} <= given.keys():
                wanted = self._tensors.shape(given["B"])[0], self._tensors.shape(given["A"])[-1]
                if wanted[0] != wanted[1] and self.shape(in_base[module]) in (wanted, wanted[::-1]):
                    return self.shape(in_base[module]) != wanted
        return bool(config.get("fan_in_fan_out"))

    def _product(
        self, module: str, name: str, parts: Mapping[str, str], config: Mapping[str, Any], turned: bool
    ) -> _Product:
        embedding = "embedding_A" in parts
        a, b = (parts.get(f"embedding_{part}" if embedding else part) for part in "AB")
        if a is None or b is None:
            raise CompatError(f"the adapter {self._adapter} has only half of the product for {name}")
        if {2} != {len(self._tensors.shape(a)), len(self._tensors.shape(b)), len(self.shape(name))}:
            raise CompatError(f"the adapter {self._adapter} changes {name}, which is no matrix")
        (rank, inputs), outputs = self._tensors.shape(a), self._tensors.shape(b)[0]
        wanted = outputs, inputs
        transposed = embedding or (turned if outputs == inputs else self.shape(name) == wanted[::-1])
        self._check_shape(name, wanted[::-1] if transposed else wanted)
        return _Product(module, parts, a, b, scale_of(module, rank, config), transposed)

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
