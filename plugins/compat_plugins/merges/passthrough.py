"""The `passthrough` merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.block_names import comes_before_blocks, in_block
from compat_spec.nn.per_tensor import PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor


class Slice(BaseModel):
    """Some blocks of a model, one after the other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName = Field(description="One of the merge's models.")
    layers: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]] = Field(
        description="Its first block, from 0, and the one that is no longer taken: [8, 24] is 16 blocks."
    )
    scale: PerTensor[FiniteFloat] | None = Field(
        default=None, description="What the slice's tensors are multiplied by, instead of the merge's `scale`."
    )

    @field_validator("layers")
    @classmethod
    def _is_range(cls, layers: tuple[int, int]) -> tuple[int, int]:
        if layers[0] >= layers[1]:
            raise ValueError(f"layers {list(layers)} are none; the second number must be larger than the first")
        return layers

    @property
    def blocks(self) -> range:
        return range(*self.layers)


class Passthrough(TensorMerge):
    """Stacks blocks of the models on each other, or keeps one model as it is.

    The embeddings are those of the first slice's model, the last norm and the head those of the last's; config and
    tokenizer are the first model's. Depth is that in the result. Kim et al., "SOLAR 10.7B: Scaling Large Language
    Models with Simple yet Effective Depth Up-Scaling", 2023, arXiv:2312.15166, stacks a model on itself.

    Example:
        use: passthrough
        models: [math, code]
        slices: [{model: math, layers: [0, 16]}, {model: code, layers: [8, 24]}]
    """

    unit = "entry"
    compares: ClassVar[frozenset[str] | None] = frozenset(
        {"model_type", "hidden_size", "num_attention_heads", "intermediate_size"}
        | {"tokenizer", "vocab_size", "vocabulary"}
    )

    slices: tuple[Slice, ...] | None = Field(
        default=None, min_length=1, description="The blocks of the result, from the first to the last."
    )
    scale: PerTensor[FiniteFloat] = Field(default=1.0, description="What the tensors are multiplied by.")

    @model_validator(mode="after")
    def _slices_fit(self) -> Passthrough:
        if self.slices is None:
            if len(self.models) != 1:
                raise ValueError(f"without slices there is one model, not {len(self.models)}; say which blocks to take")
            return self
        for one in self.slices:
            if one.model not in self.models:
                raise ValueError(f"a slice is of {one.model}, which is not one of the models {', '.join(self.models)}")
        unused = [name for name in self.models if name not in {one.model for one in self.slices}]
        if unused:
            raise ValueError(f"no slice is of {unused[0]}; leave it out of the models")
        return self

    def misfit(self, architecture: Mapping[str, Any]) -> str | None:
        depth = architecture.get("num_hidden_layers")
        if depth is None or len(set(self.models)) != 1:  # else it is not known which model this is
            return None
        beyond = next((one for one in self.slices or () if one.layers[1] > depth), None)
        return f"layers {list(beyond.layers)} are taken of {beyond.model}, which has {depth}" if beyond else None

    def blocks(self, counts: Sequence[int]) -> Sequence[tuple[int, int]] | None:
        if self.slices is None:
            return None
        return [(self.models.index(one.model), block) for one in self.slices for block in one.blocks]

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        scale = at.value(self._scale(at.name))
        return tensors[0].clone() if scale == 1 else tensors[0] * scale

    def _scale(self, name: str) -> PerTensor[float]:
        """The setting for a tensor of the result: that of its slice, where the slice has one."""
        if self.slices is None:
            return self.scale
        own = self._slice_of(name, self.slices).scale
        return self.scale if own is None else own

    def _slice_of(self, name: str, slices: Sequence[Slice]) -> Slice:
        place = in_block(name)
        if place is None:
            return slices[0] if comes_before_blocks(name) else slices[-1]
        each = [one for one in slices for _ in one.blocks]
        return each[place.block]
