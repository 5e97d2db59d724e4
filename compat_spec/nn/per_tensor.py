"""Numbers that may differ from tensor to tensor, and what a merge is told of the tensor that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass as pydantic_dataclass

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Gradient", "OnePerModel", "PerModel", "PerTensor", "TensorPlace"]

T = TypeVar("T")

OTHERS = "*"
"""The pattern of all tensors that no other pattern of a map fits."""


@pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Gradient(Generic[T]):
    """A number that changes over the depth of the network: `{gradient: [0, 0.5, 1]}`.

    The values are spread evenly from the first block to the last, with straight lines between. What is outside the
    blocks, such as embeddings, has the first.
    """

    gradient: tuple[T, ...] = Field(min_length=1, description="The values, from the first block to the last.")


def _serves_all(by_name: Mapping[str, Any]) -> Mapping[str, Any]:
    if OTHERS not in by_name:
        raise ValueError(f"say what holds for the tensors that no pattern fits: '{OTHERS}': …")
    if list(by_name)[-1] != OTHERS:
        raise ValueError(f"'{OTHERS}' is for the tensors that no other pattern fits: write it last")
    return by_name


def _form(value: Any) -> str:
    """Which of the forms below a value is meant to be, so that what is wrong with it is said of that one alone."""
    if isinstance(value, Gradient) or (isinstance(value, Mapping) and "gradient" in value):
        return "gradient"
    return "map" if isinstance(value, Mapping) else "number"


_Depth: TypeAlias = Annotated[
    Annotated[T, Tag("number")] | Annotated[Gradient[T], Tag("gradient")],
    Discriminator(lambda value: "gradient" if _form(value) == "map" else _form(value)),
]

PerTensor: TypeAlias = Annotated[
    Annotated[T, Tag("number")]
    | Annotated[Gradient[T], Tag("gradient")]
    | Annotated[dict[str, _Depth[T]], AfterValidator(_serves_all), Tag("map")],
    Discriminator(_form),
]
"""A number, a gradient over depth, or a map from parts of tensor names to these: `{mlp: 0.3, "*": 0.5}`.

The first part that a tensor's name contains decides; `*` holds for all others.
"""


class OnePerModel:
    """Marks a field whose list has one entry for each of the merge's models."""


PerModel: TypeAlias = Annotated[
    Annotated[PerTensor[T], Tag("one")] | Annotated[tuple[PerTensor[T], ...], Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "one"),
    OnePerModel(),
]
"""One such number for all models, or a list with one for each."""


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Which tensor of the result is being made.

    Attributes:
        name: its name in the checkpoint.
        depth: where its block stands, from 0 (the first) to 1 (the last); 0 for what is outside the blocks.
        seed: the seed of the run, for merges with `uses_seed`.
        found: what the merge's `study` returned.
        surveyed: what the merge's `survey` returned of this tensor.
        shape: that of the whole tensor, where a piece of it is made.
        start: which entry of the flattened tensor the piece begins with.
    """

    name: str
    depth: float = 0.0
    seed: int = 0
    found: Mapping[str, Tensor] = field(default_factory=dict)
    surveyed: Any = None
    shape: tuple[int, ...] = ()
    start: int = 0

    def value(self, setting: PerTensor[float]) -> float:
        """The number that a parameter has for this tensor."""
        if isinstance(setting, Mapping):
            setting = next(inner for part, inner in setting.items() if part == OTHERS or part in self.name)
        return _at(setting.gradient, self.depth) if isinstance(setting, Gradient) else setting

    def values(self, setting: PerTensor[float] | Sequence[PerTensor[float]], count: int) -> list[float]:
        """The number that a parameter has for this tensor of each of `count` models."""
        if isinstance(setting, Sequence):
            return [self.value(one) for one in setting]
        return [self.value(setting)] * count

    def random(self, shape: Sequence[int], stream: int = 0) -> Tensor:
        """Numbers drawn evenly from [0, 1), float32 `shape`, on the CPU: one for each entry, from `start` on.

        They depend on the run's seed, the tensor's name, the entry's place and `stream`, such as a model's index, and
        on nothing else: a tensor has the same numbers in pieces as in one.
        """
        from compat_spec.nn.randomness import uniform

        return uniform(shape, self.seed, f"{self.name}\n{stream}", start=self.start)


def _at(values: Sequence[float], depth: float) -> float:
    """The value at a depth of a line through evenly spread points."""
    position = depth * (len(values) - 1)
    below = min(int(position), len(values) - 1)
    above = min(below + 1, len(values) - 1)
    share = position - below
    return (1 - share) * values[below] + share * values[above]
